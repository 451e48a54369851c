/** Routes for batches: many items for one function, as lines of JSON or an array of any length. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { HttpBindings } from '@hono/node-server';
import { z } from '@hono/zod-openapi';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { Batch, BatchList, ItemsTaken } from '#contract/invocations/batch.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { DEFAULT_GROUP_ITEMS } from '#contract/functions/limits.ts';
import { EVERY_NAMESPACE, Name } from '#contract/functions/names.ts';
import { retryTerms } from '#contract/invocations/retry.ts';
import { parseTraceparent, parseTracestate } from '#contract/invocations/trace.ts';
import type { BatchFacts } from '#storage/queued/batches.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { takeItems } from '../batches/intake.ts';
import { itemForm } from '../batches/items.ts';
import { resultsOf } from '../batches/results.ts';
import { RequestAborted } from '../call/body.ts';
import { newInvocationId, newSpanId, newTraceId } from '../dispatch/ids.ts';
import { single } from '../call/request.ts';
import { allowLongUpload } from '../call/server.ts';
import { answers, endpoint, OfFunction, OfInvocation, type AppDeps } from './endpoint.ts';

/** An array is accepted too, as the text says. If it were declared, hono would read and check all of it before the handler. */
const itemsBody = {
  content: {
    'application/x-ndjson': {
      schema: z.string().openapi({
        description:
          'one JSON item per line; or, as application/json, an array of any length. An item may have at most 256 KB and 1,000 levels of nesting',
      }),
    },
  },
} as const;

export const create = endpoint(
  {
    summary: 'Run a function for many items',
    description:
      'Reads the items as they come, queues them in groups, and stops reading while many of them wait, so the body may have any length. With open=1 it takes no items; POST …/batches/{id}/items fills the batch, and …/seal closes it.',
    request: {
      params: OfFunction,
      query: z.object({ open: z.enum(['0', '1']).default('0') }),
      body: { required: false, ...itemsBody },
    },
    responses: answers(202, ItemsTaken, 'the batch has all items'),
  },
  (deps) => async (context) => {
    const { namespace, name } = context.req.valid('param');
    const facts = await factsOf(deps, namespace, name, context.var.holder, context.env.incoming);
    const isOpen = context.req.valid('query').open === '1';
    // Checked before the batch is made, so that an unusable body leaves no batch.
    const form = isOpen ? undefined : itemForm(context.req.header('content-type'));
    await deps.batches.enqueuer.checkRoom(namespace);
    await deps.batches.store.create(facts);
    const { id } = facts;
    const taken = form ? await take(deps, facts, context.env) : 0;
    if (form) await deps.batches.store.seal(id);
    return context.json({ taken, batch: await ownBatch(deps, id, context.var.holder) }, 202);
  },
  { readsBody: true },
);

export const append = endpoint(
  {
    summary: 'Add items to a batch that is open',
    request: { params: OfInvocation, body: { required: true, ...itemsBody } },
    responses: answers(202, ItemsTaken, 'the batch has these items'),
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    await ownBatch(deps, id, context.var.holder);
    const found = await deps.batches.store.find(id);
    if (!found) throw gone(id);
    const taken = await take(deps, found.facts, context.env);
    return context.json({ taken, batch: await ownBatch(deps, id, context.var.holder) }, 202);
  },
  { readsBody: true },
);

export const seal = endpoint(
  {
    summary: 'Close a batch: no more items come',
    request: { params: OfInvocation },
    responses: answers(200, Batch, 'the batch'),
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    await ownBatch(deps, id, context.var.holder);
    await deps.batches.store.seal(id);
    return context.json(await ownBatch(deps, id, context.var.holder), 200);
  },
);

export const cancel = endpoint(
  {
    summary: 'End a batch: waiting items do not run, running ones are killed',
    request: { params: OfInvocation },
    responses: answers(202, Batch, 'it is being ended'),
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    const before = await ownBatch(deps, id, context.var.holder);
    if (before.endedAt !== undefined) throw new OffshootError('already_ended', 'the batch has ended', { id });
    await deps.batches.cancel(id, context.var.holder.id);
    return context.json(await ownBatch(deps, id, context.var.holder), 202);
  },
);

export const get = endpoint(
  {
    summary: 'One batch and its progress',
    request: { params: OfInvocation },
    responses: answers(200, Batch, 'the batch'),
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    return context.json(await ownBatch(deps, id, context.var.holder), 200);
  },
);

export const list = endpoint(
  {
    summary: 'Latest batches, newest first',
    request: {
      query: z.object({
        namespace: Name.optional(),
        limit: z.coerce.number().int().min(1).max(1_000).default(50),
      }),
    },
    responses: answers(200, BatchList, 'the batches'),
  },
  (deps) => async (context) => {
    const { namespace, limit } = context.req.valid('query');
    const own = context.var.holder.namespace;
    if (namespace !== undefined && own !== EVERY_NAMESPACE && own !== namespace)
      throw new OffshootError('forbidden', `this key does not hold for the namespace "${namespace}"`);
    const wanted = namespace ?? (own === EVERY_NAMESPACE ? undefined : own);
    const namespaces = wanted === undefined ? await deps.functions.namespaces() : [wanted];
    const found = await Promise.all(namespaces.map((one) => deps.batches.store.list(one, limit)));
    const newest = found.flat().toSorted((a, b) => b.createdAt - a.createdAt);
    return context.json({ batches: newest.slice(0, limit) }, 200);
  },
);

export const results = endpoint(
  {
    summary: 'The results of the items of a batch, one line of JSON for each',
    request: {
      params: OfInvocation,
      query: z.object({
        order: z.enum(['input', 'completed']).default('input'),
        wait: z.enum(['0', '1']).default('0').openapi({ description: '1: go on until the batch has ended' }),
      }),
    },
    responses: { 200: { description: 'lines of JSON, each an ItemResult' } },
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    const { order, wait } = context.req.valid('query');
    await ownBatch(deps, id, context.var.holder);
    const lines = Readable.from(resultsOf(deps.batches, id, { order, wait: wait === '1' }), {
      objectMode: false,
    });
    // Answers of functions come from the origin of the API here, so a browser must not run them.
    return new Response(Readable.toWeb(lines) as ReadableStream, {
      headers: {
        'content-type': 'application/x-ndjson',
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      },
    });
  },
);

async function take(
  deps: AppDeps,
  facts: BatchFacts,
  { incoming, outgoing }: Pick<HttpBindings, 'incoming' | 'outgoing'>,
): Promise<number> {
  const form = itemForm(incoming.headers['content-type']);
  allowLongUpload(incoming);
  const cutOff = new AbortController();
  // The response is watched, because the request also closes when it is complete and its items still wait.
  outgoing.once('close', () => cutOff.abort(new RequestAborted()));
  try {
    // The rest of a refused body is read after the answer, see response.ts.
    const body = incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    return await takeItems(deps.batches, facts, body, form, cutOff.signal);
  } catch (error) {
    if (incoming.destroyed && !incoming.complete) throw new RequestAborted();
    throw error;
  }
}

async function factsOf(
  deps: AppDeps,
  namespace: string,
  name: string,
  holder: ApiKeyRecord,
  { headers }: IncomingMessage,
): Promise<BatchFacts> {
  const target = await deps.functionCache.target(namespace, name);
  if (!target) throw await deps.functionCache.notFound(namespace, name, holder);
  const { version, retries, queueMs, batchSize = DEFAULT_GROUP_ITEMS } = target;
  const parent = parseTraceparent(single(headers['traceparent']));
  const tracestate = parent && parseTracestate(single(headers['tracestate']));
  return {
    id: newInvocationId(),
    namespace,
    name,
    version,
    createdAt: sharedNow(),
    size: batchSize,
    terms: {
      ...retryTerms(retries),
      queueMs,
    },
    traceId: parent?.traceId ?? newTraceId(),
    spanId: newSpanId(),
    ...(parent && { parentSpanId: parent.spanId }),
    ...(tracestate !== undefined && { tracestate }),
    sampled: parent?.sampled ?? true,
  };
}

async function ownBatch(deps: AppDeps, id: string, holder: ApiKeyRecord): Promise<Batch> {
  const found = await deps.batches.store.find(id);
  // A batch of another namespace looks like a missing one.
  if (!found || (holder.namespace !== EVERY_NAMESPACE && holder.namespace !== found.batch.namespace))
    throw gone(id);
  return found.batch;
}

function gone(id: string): OffshootError {
  return new OffshootError('batch_not_found', `there is no batch ${id}`);
}
