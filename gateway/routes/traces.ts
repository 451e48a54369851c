/** The route for a whole trace: its invocations, and their spans as one tree. */
import { z } from '@hono/zod-openapi';
import {
  MAX_TRACE_INVOCATIONS,
  MAX_TRACE_SPANS,
  TRACE_ID,
  WholeTrace,
} from '#contract/invocations/whole-trace.ts';
import { findTrace } from '../records/whole-trace.ts';
import { answers, endpoint, OfInvocation } from './endpoint.ts';

export const get = endpoint(
  {
    summary: 'A whole trace: its invocations, and all their spans as one tree',
    description: `Shows the namespaces of the key, with at most ${MAX_TRACE_INVOCATIONS} invocations and ${MAX_TRACE_SPANS} spans, and the numbers of those left out. Each span is followed by the spans below it. A parent outside these invocations is a span "caller" without times.`,
    request: {
      params: z.object({ traceId: z.string().regex(TRACE_ID, 'not the id of a trace') }),
      query: z.object({
        invocation: OfInvocation.shape.id.optional().openapi({
          description: 'id of one of its invocations, which is shown even if the lists no longer have it',
        }),
      }),
    },
    responses: answers(200, WholeTrace, 'the trace'),
  },
  (deps) => async (context) => {
    const { traceId } = context.req.valid('param');
    const { invocation: hint } = context.req.valid('query');
    return context.json(await findTrace(deps, context.var.holder, traceId, { hint, fresh: true }), 200);
  },
);
