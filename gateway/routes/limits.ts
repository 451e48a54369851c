/** Routes to read and set the limits of a namespace. */
import { NamespaceLimits } from '#contract/functions/quota.ts';
import { EVERY_NAMESPACE } from '../functions/api-keys.ts';
import { answers, endpoint, jsonBody, OfNamespace } from './endpoint.ts';

export const get = endpoint(
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

export const put = endpoint(
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
    deps.directory.changed(EVERY_NAMESPACE);
    await deps.functions.announce(EVERY_NAMESPACE);
    return context.json(limits, 200);
  },
);
