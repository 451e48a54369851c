/** What Prometheus reads. It names the functions of all namespaces, so it takes a key that holds for all of them. */
import { z } from '@hono/zod-openapi';
import { OffshootError } from '#contract/errors.ts';
import { METRICS_TYPE } from '#storage/metrics.ts';
import { EVERY_NAMESPACE } from '../store/api-keys.ts';
import { endpoint } from './endpoint.ts';

export const metrics = endpoint(
  {
    summary: 'Metrics in the text format of Prometheus; needs a key with the scope "read" for all namespaces',
    responses: { 200: { description: 'the metrics', content: { 'text/plain': { schema: z.string() } } } },
  },
  (deps) => async (context) => {
    if (context.var.holder.namespace !== EVERY_NAMESPACE) {
      throw new OffshootError(
        'forbidden',
        'the metrics show all namespaces, so they need a key that holds for all: POST /api/v1/keys {"namespace":"*","scopes":["read"]}',
      );
    }
    return context.text(await deps.metrics.text(), 200, { 'content-type': METRICS_TYPE });
  },
);
