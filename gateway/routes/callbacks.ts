/** Routes for the secrets with which receivers of callbacks check their signatures. */
import { CallbackSecrets } from '#contract/invocations/callback.ts';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { answers, endpoint, OfNamespace, type AppDeps } from './endpoint.ts';

export const secret = endpoint(
  {
    summary: 'The secret that signs the callbacks of a namespace; the first request makes it',
    description:
      'Callbacks follow the Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, and `webhook-signature` with a `v1,` signature for each valid secret.',
    request: { params: OfNamespace },
    responses: answers(200, CallbackSecrets, 'the secret, and earlier ones that are still valid'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    await existing(deps, namespace, context.var.holder);
    return context.json(await deps.secrets.of(namespace), 200, { 'cache-control': 'no-store' });
  },
);

export const rotate = endpoint(
  {
    summary: 'Make a new secret; for a day callbacks are signed with the previous one as well',
    request: { params: OfNamespace },
    responses: answers(200, CallbackSecrets, 'the new secret, and earlier ones that are still valid'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    await existing(deps, namespace, context.var.holder);
    return context.json(await deps.secrets.rotate(namespace), 200, { 'cache-control': 'no-store' });
  },
);

/** Throws `namespace_not_found` when the namespace does not exist. */
async function existing(deps: AppDeps, namespace: string, holder: ApiKeyRecord): Promise<void> {
  if (await deps.functions.hasNamespace(namespace)) return;
  throw await deps.functionCache.namespaceNotFound(namespace, holder);
}
