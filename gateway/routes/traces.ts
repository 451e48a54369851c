/** A whole trace: what was called within it, as one tree. */
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
    description: `Of the namespaces that the key holds for; ${MAX_TRACE_INVOCATIONS} invocations and ${MAX_TRACE_SPANS} spans at most, and how many there are beyond. Each span comes with those below it right behind it. A parent that no invocation has is a span "caller", whose times are not known here.`,
    request: {
      params: z.object({ traceId: z.string().regex(TRACE_ID, 'not the id of a trace') }),
      query: z.object({
        invocation: OfInvocation.shape.id.optional().openapi({
          description: 'id of one of them, which is shown also when the lists have it no more',
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
