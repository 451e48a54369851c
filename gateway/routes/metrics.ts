/** The route for Prometheus. The metrics name functions of all namespaces, so they need a key for all namespaces. */
import { z } from '@hono/zod-openapi';
import { OffshootError } from '#contract/api/errors.ts';
import { EVERY_NAMESPACE } from '../functions/api-keys.ts';
import { endpoint } from './endpoint.ts';

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
