/** Routes for queued invocations: queue one, follow it, fetch its result, cancel it, replay it. */
import { Readable } from 'node:stream';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { z } from '@hono/zod-openapi';
import { streamSSE } from 'hono/streaming';
import { Accepted, ReplayRequest } from '#contract/api/api.ts';
import {
  CALLBACK_HEADER,
  DELAY_HEADER,
  INVOCATION_HEADER,
  OUTCOME_HEADER,
  PRIORITY_HEADER,
  TTL_HEADER,
} from '#contract/api/headers.ts';
import { CallbackBody } from '#contract/invocations/callback.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { AnyInvocation } from '#contract/invocations/invocation.ts';
import { isFailure, OUTCOMES } from '#contract/invocations/outcome.ts';
import { terminalJson } from '#contract/api/text.ts';
import { checkResponse } from '../call/response-meta.ts';
import { answers, endpoint, jsonBody, OfFunction, OfInvocation } from './endpoint.ts';
import { ownInvocation } from './invocations.ts';

const LOOK_AGAIN_MS = 200;
/** Silence after which a comment is sent, so that proxies do not close the stream. */
const COMMENT_MS = 15_000;

const accepted = (record: AnyInvocation): Accepted => ({
  id: record.id,
  state: record.state,
  url: `/api/v1/invocations/${record.id}`,
});

export const enqueue = endpoint(
  {
    summary: 'Queue a call of a function with one JSON value as its event',
    description: `Answers when Redis has acknowledged the call. It runs at least once, and is retried by the function's "retries". A call of the function's own URL with "Prefer: respond-async" does the same.`,
    request: {
      params: OfFunction,
      headers: z.object({
        'idempotency-key': z
          .string()
          .optional()
          .openapi({ description: 'for 24 hours, the same key stands for the same invocation' }),
        [DELAY_HEADER]: z.string().optional().openapi({ description: 'seconds before it may start' }),
        [PRIORITY_HEADER]: z
          .string()
          .optional()
          .openapi({ description: '1 is first; calls without a priority come before all others' }),
        [TTL_HEADER]: z
          .string()
          .optional()
          .openapi({ description: 'seconds after which it may not start any more' }),
        [CALLBACK_HEADER]: z.string().optional().openapi({
          description:
            'URL that gets a signed POST at the end, see /callbacks/{namespace}/secret; the invocation shows the state of the delivery',
        }),
      }),
      body: { required: true, content: { 'application/json': { schema: {} } } },
    },
    responses: { 202: { description: 'it is queued: `{id, state, url}`' } },
    callbacks: {
      ended: {
        [`{$request.header.${CALLBACK_HEADER}}`]: {
          post: {
            description: 'Signed by the Standard Webhooks specification; see /callbacks/{namespace}/secret.',
            requestBody: {
              content: { 'application/json': { schema: z.toJSONSchema(CallbackBody, { io: 'input' }) } },
            },
            responses: {
              '2XX': { description: 'the receiver has it' },
              410: { description: 'the receiver wants no further attempts' },
              default: { description: 'the delivery is retried later' },
            },
          },
        },
      },
    },
  },
  (deps) => async (context) => {
    const { namespace, name } = context.req.valid('param');
    const target = await deps.functionCache.target(namespace, name);
    if (!target) throw await deps.functionCache.notFound(namespace, name, context.var.holder);
    await deps.functionRoute.event(context.env.incoming, context.env.outgoing, target, { queued: true });
    return RESPONSE_ALREADY_SENT;
  },
  { readsBody: true },
);

export const result = endpoint(
  {
    summary: 'The answer of the function: status, headers and body',
    request: { params: OfInvocation },
    responses: { 200: { description: 'the answer of the function' } },
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    const record = await ownInvocation(deps, id, context.var.holder);
    if (record.state !== 'done')
      throw new OffshootError('not_ended', `the invocation is ${record.state}`, { id });
    const found = await deps.queued.result(record);
    const checked = found && checkResponse(found.payload);
    if (!checked || 'problem' in checked) {
      found?.body?.destroy();
      const why = !isFailure(record.outcome)
        ? 'it was not kept'
        : `it ended as ${record.outcome}: ${OUTCOMES[record.outcome].meaning}`;
      throw new OffshootError('result_not_found', `the invocation has no result: ${why}`, { id });
    }
    const headers = new Headers();
    for (let at = 0; at < checked.headers.length; at += 2) {
      headers.append(checked.headers[at] ?? '', checked.headers[at + 1] ?? '');
    }
    headers.set(INVOCATION_HEADER, id);
    headers.set(OUTCOME_HEADER, record.outcome);
    // The answer comes from the origin of the API here, so a browser must not run it.
    headers.set('content-security-policy', 'sandbox');
    headers.set('x-content-type-options', 'nosniff');
    const bodyless = checked.status === 204 || checked.status === 205 || checked.status === 304;
    if (!found?.body || bodyless) {
      found?.body?.destroy();
      return new Response(bodyless ? null : new Uint8Array(checked.body), {
        status: checked.status,
        headers,
      });
    }
    headers.set('content-length', String(record.responseBytes));
    const body = Readable.toWeb(found.body) as ReadableStream<Uint8Array<ArrayBuffer>>;
    return new Response(body, { status: checked.status, headers });
  },
);

export const events = endpoint(
  {
    summary: 'The progress of an invocation as server-sent events, until it has ended',
    request: { params: OfInvocation },
    responses: {
      200: {
        description: 'events `state` with the invocation',
        content: { 'text/event-stream': { schema: z.string() } },
      },
    },
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    let record: AnyInvocation | undefined = await ownInvocation(deps, id, context.var.holder);
    return streamSSE(context, async (stream) => {
      let shown = '';
      let quietSince = performance.now();
      while (record && !stream.aborted && !stream.closed) {
        const data = terminalJson(record);
        if (data !== shown) {
          await stream.writeSSE({ event: 'state', data });
          shown = data;
          quietSince = performance.now();
        } else if (performance.now() - quietSince > COMMENT_MS) {
          await stream.write(': nothing new\n\n');
          quietSince = performance.now();
        }
        if (record.state === 'done') return;
        await stream.sleep(LOOK_AGAIN_MS);
        record = await deps.invocations.find(id);
      }
    });
  },
);

export const cancel = endpoint(
  {
    summary: 'End an invocation: a waiting one does not run, a running one is killed',
    request: { params: OfInvocation },
    responses: answers(202, AnyInvocation, 'it is being ended'),
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    const { holder } = context.var;
    await ownInvocation(deps, id, holder);
    return context.json(await deps.queued.cancel(id, { by: 'key', key: holder.id }), 202);
  },
);

export const replay = endpoint(
  {
    summary: 'Queue the input of an invocation again, for the same or another version, or another input',
    request: { params: OfInvocation, body: jsonBody(ReplayRequest) },
    responses: answers(202, Accepted, 'it is queued'),
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    const record = await ownInvocation(deps, id, context.var.holder);
    return context.json(accepted(await deps.queued.replay(record, context.req.valid('json'))), 202);
  },
);
