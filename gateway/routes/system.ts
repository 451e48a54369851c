/** Routes for the platform itself: API keys, workers, limits of a namespace, the key of the request, health, metrics. */
import { z } from '@hono/zod-openapi';
import {
  ApiKeyRecord,
  CreatedKey,
  CreateKeyRequest,
  Health,
  WhoAmI,
  WorkerStatus,
} from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { EVERY_NAMESPACE } from '#contract/functions/names.ts';
import { NamespaceLimits } from '#contract/functions/quota.ts';
import { answers, endpoint, jsonBody, OfNamespace } from './endpoint.ts';

export const whoAmI = endpoint(
  {
    summary: 'The namespace and scopes of the key of this request',
    responses: answers(200, WhoAmI, 'the key'),
  },
  (deps) => (context) => {
    const { namespace, scopes } = context.var.holder;
    return context.json({ namespace, scopes, version: deps.version }, 200);
  },
);

export const workers = endpoint(
  {
    summary: 'Workers that are alive',
    responses: answers(200, z.object({ workers: z.array(WorkerStatus) }), 'the workers'),
  },
  (deps) => async (context) =>
    context.json({ workers: await deps.invocations.workers(context.var.holder.namespace) }, 200),
);

export const createKey = endpoint(
  {
    summary: 'Make an API key; only this answer shows it',
    request: { body: jsonBody(CreateKeyRequest) },
    responses: answers(201, CreatedKey, 'the new key'),
  },
  (deps) => async (context) => {
    const { namespace, scopes } = context.req.valid('json');
    if (scopes.includes('admin') && namespace !== EVERY_NAMESPACE) {
      throw new OffshootError(
        'bad_request',
        'the scope "admin" holds everywhere, so its key must be one for "*"',
      );
    }
    const { key, record } = await deps.apiKeys.add(namespace, [...new Set(scopes)]);
    deps.functionCache.changed(EVERY_NAMESPACE);
    await deps.functions.announce(EVERY_NAMESPACE);
    return context.json({ ...record, key }, 201);
  },
);

export const listKeys = endpoint(
  {
    summary: 'API keys, without the keys themselves',
    responses: answers(200, z.object({ keys: z.array(ApiKeyRecord) }), 'the keys'),
  },
  (deps) => async (context) => context.json({ keys: await deps.apiKeys.list() }, 200),
);

export const removeKey = endpoint(
  {
    summary: 'Delete an API key',
    request: { params: z.object({ id: z.string() }) },
    responses: { 204: { description: 'it is gone' } },
  },
  (deps) => async (context) => {
    const { id } = context.req.valid('param');
    const admins = (await deps.apiKeys.list()).filter((record) => record.scopes.includes('admin'));
    if (admins.length === 1 && admins[0]?.id === id) {
      throw new OffshootError('conflict', 'this is the last admin key; without it no other could be made');
    }
    if (!(await deps.apiKeys.remove(id))) throw new OffshootError('not_found', `there is no key ${id}`);
    deps.functionCache.changed(EVERY_NAMESPACE);
    await deps.functions.announce(EVERY_NAMESPACE);
    return context.body(null, 204);
  },
);

export const health = endpoint(
  {
    summary: 'Does the platform work? Needs no key',
    responses: { ...answers(200, Health, 'it does'), ...answers(503, Health, 'Redis is unavailable') },
  },
  (deps) => async (context) => {
    const found = await deps.health();
    return context.json(found, found.redis ? 200 : 503);
  },
);

export const namespaceLimits = endpoint(
  {
    summary:
      'The limits of a namespace: concurrency, rate, weight, length of its queue; a missing one means no limit',
    request: { params: OfNamespace },
    responses: answers(200, NamespaceLimits, 'its limits'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    return context.json((await deps.namespaceLimits.find(namespace)) ?? {}, 200);
  },
);

export const setNamespaceLimits = endpoint(
  {
    summary: 'Set all limits of a namespace at once; {} removes every limit',
    description: 'Gateways apply the limits at once, workers within two seconds.',
    request: { params: OfNamespace, body: jsonBody(NamespaceLimits) },
    responses: answers(200, NamespaceLimits, 'the limits from now on'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    const limits = context.req.valid('json');
    await deps.namespaceLimits.set(namespace, limits);
    deps.functionCache.changed(EVERY_NAMESPACE);
    await deps.functions.announce(EVERY_NAMESPACE);
    return context.json(limits, 200);
  },
);

/** The metrics name functions of all namespaces, so they need a key for all namespaces. */
export const metrics = endpoint(
  {
    summary: 'Metrics for Prometheus; needs a key with the scope "read" for all namespaces',
    description: 'With exemplars for clients that accept application/openmetrics-text; version=1.0.0.',
    responses: {
      200: {
        description: 'the metrics',
        content: {
          'text/plain': { schema: z.string() },
          'application/openmetrics-text': { schema: z.string() },
        },
      },
    },
  },
  (deps) => async (context) => {
    if (context.var.holder.namespace !== EVERY_NAMESPACE) {
      throw new OffshootError(
        'forbidden',
        'the metrics show all namespaces, so they need a key that holds for all: POST /api/v1/keys {"namespace":"*","scopes":["read"]}',
      );
    }
    const { text, type } = await deps.metrics.expose(context.req.header('accept'));
    return context.text(text, 200, { 'content-type': type });
  },
);
