/** What a namespace may take of the platform. */
import { NamespaceLimits } from '#contract/functions/quota.ts';
import { EVERY_NAMESPACE } from '../functions/api-keys.ts';
import { answers, endpoint, jsonBody, OfNamespace } from './endpoint.ts';

export const get = endpoint(
  {
    summary:
      'What a namespace may take: concurrency, rate, weight, length of its queue; what is not there is not limited',
    request: { params: OfNamespace },
    responses: answers(200, NamespaceLimits, 'its limits'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    return context.json((await deps.namespaceLimits.find(namespace)) ?? {}, 200);
  },
);

export const put = endpoint(
  {
    summary: 'Set what a namespace may take, all of it at once; {} takes every limit away',
    description: 'Gateways know it at once, workers within two seconds.',
    request: { params: OfNamespace, body: jsonBody(NamespaceLimits) },
    responses: answers(200, NamespaceLimits, 'what holds now'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    const limits = context.req.valid('json');
    await deps.namespaceLimits.set(namespace, limits);
    deps.directory.changed(EVERY_NAMESPACE);
    await deps.functions.announce(EVERY_NAMESPACE);
    return context.json(limits, 200);
  },
);
