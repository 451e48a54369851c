/** Routes for the platform itself: API keys, workers, the key of the request, health. */
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
import { EVERY_NAMESPACE } from '../functions/api-keys.ts';
import { answers, endpoint, jsonBody } from './endpoint.ts';

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
    deps.directory.changed(EVERY_NAMESPACE);
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
    deps.directory.changed(EVERY_NAMESPACE);
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
