/** Routes to call a function with an event, and to read the records, traces and logs of calls. */
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { z } from '@hono/zod-openapi';
import { streamSSE } from 'hono/streaming';
import { AnyInvocationDetail, FunctionLog, InvocationList } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { Outcome, type AnyInvocation } from '#contract/invocations/invocation.ts';
import { EVERY_NAMESPACE, Name } from '#contract/functions/names.ts';
import { terminalJson } from '#contract/api/text.ts';
import { spansOf } from '#contract/invocations/trace.ts';
import {
  MAX_TRACE_INVOCATIONS,
  MAX_TRACE_SPANS,
  TRACE_ID,
  WholeTrace,
} from '#contract/invocations/whole-trace.ts';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { findTrace } from '../records/whole-trace.ts';
import { answers, endpoint, OfFunction, OfInvocation, type AppDeps } from './endpoint.ts';
import { existing } from './functions.ts';

/** Interval between two reads of a function's log for a client that follows it. */
const FOLLOW_INTERVAL_MS = 200;
/** Silence after which a comment is sent: it keeps proxies from closing the stream, and shows whether the client is gone. */
const FOLLOW_COMMENT_MS = 15_000;

export const invoke = endpoint(
  {
    summary: 'Call a function with one JSON value as its event',
    description: 'Returns the answer of the function, with the same headers as a call of its URL.',
    request: {
      params: OfFunction,
      body: { required: true, content: { 'application/json': { schema: {} } } },
    },
    responses: { 200: { description: 'the answer of the function' } },
  },
  (deps) => async (context) => {
    const { namespace, name } = context.req.valid('param');
    const target = await deps.functionCache.target(namespace, name);
    if (!target) throw await deps.functionCache.notFound(namespace, name, context.var.holder);
    await deps.functionRoute.event(context.env.incoming, context.env.outgoing, target);
    return RESPONSE_ALREADY_SENT;
  },
  { readsBody: true },
);

/** The invocation, if it exists and the key is valid for its namespace. Throws `invocation_not_found`. */
export async function ownInvocation(deps: AppDeps, id: string, holder: ApiKeyRecord): Promise<AnyInvocation> {
  const record = await deps.invocations.find(id);
  // An invocation of another namespace looks like a missing one.
  if (!record || (holder.namespace !== EVERY_NAMESPACE && holder.namespace !== record.namespace)) {
    throw new OffshootError('invocation_not_found', `there is no invocation ${id}`);
  }
  return record;
}

export const get = endpoint(
  {
    summary: 'One invocation: its figures, its logs and its spans',
    request: {
      params: OfInvocation,
    },
    responses: answers(200, AnyInvocationDetail, 'the invocation'),
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    const found = await ownInvocation(deps, id, context.var.holder);
    if (found.state !== 'done')
      return context.json({ ...found, logs: await deps.invocations.logsOf(found) }, 200);
    const [record, logs, isolation] = await Promise.all([
      deps.invocations.withLateSpans(found),
      deps.invocations.logsOf(found),
      deps.invocations.isolation(found),
    ]);
    const spans = spansOf(record).map(({ parentSpanId, name, spanId, start, duration, link, ...span }) => {
      return {
        name,
        spanId,
        start,
        duration,
        ...(link !== undefined && { link }),
        ...(span.own?.events && { events: [...span.own.events] }),
        ...(span.own?.links && { links: span.own.links }),
        attributes: { ...span.attributes },
        ...(parentSpanId !== undefined && { parentSpanId }),
      };
    });
    return context.json({ ...record, logs, spans, ...(isolation && { isolation }) }, 200);
  },
);

export const list = endpoint(
  {
    summary: 'Latest invocations, newest first',
    request: {
      query: z.object({
        namespace: Name.optional(),
        name: Name.optional(),
        state: z.enum(['queued', 'running', 'done']).optional(),
        outcome: Outcome.optional(),
        trace: z.string().optional().openapi({ description: 'trace id' }),
        since: z.coerce.number().optional().openapi({ description: 'Unix time in milliseconds' }),
        until: z.coerce.number().optional().openapi({ description: 'Unix time in milliseconds' }),
        limit: z.coerce.number().int().min(1).max(1_000).default(50),
      }),
    },
    responses: answers(200, InvocationList, 'the invocations'),
  },
  (deps) => async (context) => {
    const { namespace, name, limit, ...filter } = context.req.valid('query');
    const own = context.var.holder.namespace;
    if (namespace !== undefined && own !== EVERY_NAMESPACE && own !== namespace) {
      throw new OffshootError('forbidden', `this key does not hold for the namespace "${namespace}"`);
    }
    const wanted = namespace ?? (own === EVERY_NAMESPACE ? undefined : own);
    const namespaces = wanted === undefined ? await deps.functions.namespaces() : [wanted];
    const functions = await Promise.all(
      namespaces.map(async (one) => {
        const names = name === undefined ? await deps.functions.names(one) : [name];
        return names.map((each) => ({ namespace: one, name: each }));
      }),
    );
    return context.json({ invocations: await deps.listing.list(functions.flat(), filter, limit) }, 200);
  },
);

export const trace = endpoint(
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

export const logs = endpoint(
  {
    summary: 'The output of a function; with follow=1 also its output from now on, as server-sent events',
    request: {
      params: OfFunction,
      query: z.object({
        follow: z.enum(['0', '1', 'false', 'true']).default('0'),
        since: z.coerce
          .number()
          .int()
          .min(0)
          .optional()
          .openapi({ description: 'Unix time in milliseconds' }),
      }),
    },
    responses: {
      200: {
        description: 'the lines, oldest first',
        content: {
          'application/json': { schema: FunctionLog },
          'text/event-stream': { schema: z.string() },
        },
      },
    },
  },
  (deps) => async (context) => {
    const { namespace, name } = context.req.valid('param');
    const { follow, since } = context.req.valid('query');
    const { invocations } = deps;
    await existing(deps, namespace, name, context.var.holder);
    if (follow === '0' || follow === 'false') {
      const begin = since === undefined ? '0' : justBefore(since);
      return context.json(await invocations.functionLog(namespace, name, begin), 200);
    }
    const seen = context.req.header('last-event-id');
    const start = since === undefined ? await invocations.endOfLog(namespace, name) : justBefore(since);
    let after = seen !== undefined && /^\d{1,20}(-\d{1,20})?$/.test(seen) ? seen : start;
    return streamSSE(context, async (stream) => {
      let quietSince = performance.now();
      while (!stream.aborted && !stream.closed) {
        const page = await invocations.logPage(namespace, name, after);
        after = page.last;
        for (const [index, { id, line }] of page.lines.entries()) {
          // Only the last line of an entry carries its id: a client that disconnects earlier gets the whole entry again.
          const complete = page.lines[index + 1]?.id !== id;
          await stream.writeSSE({ data: terminalJson(line), ...(complete && { id }) });
        }
        const now = performance.now();
        if (page.lines.length > 0) quietSince = now;
        else if (now - quietSince > FOLLOW_COMMENT_MS) {
          quietSince = now;
          await stream.write(': nothing new\n\n');
        }
        // A client that lags behind gets the next page at once, before Redis trims the old end of the log.
        if (!page.full) await stream.sleep(FOLLOW_INTERVAL_MS);
      }
    });
  },
);

/** The last place in a stream before a Unix time. An id consists of the time and a 64-bit counter. */
function justBefore(time: number): string {
  return time === 0 ? '0' : `${time - 1}-18446744073709551615`;
}
