/** Routes for queued invocations that have failed for good: list them, queue them again, or take them off the list. */
import { z } from '@hono/zod-openapi';
import { DeadLetterChoice, DeadLetters, DeadLettersMoved } from '#contract/api/api.ts';
import { Name } from '#contract/functions/names.ts';
import { answers, endpoint, jsonBody, OfNamespace } from './endpoint.ts';

/** Upper bound on the dead letters that one request lists. */
const MAX_LETTERS = 1_000;

export const list = endpoint(
  {
    summary: 'Dead letters of a namespace, newest first',
    request: {
      params: OfNamespace,
      query: z.object({
        name: Name.optional(),
        limit: z.coerce.number().int().min(1).max(MAX_LETTERS).default(50),
      }),
    },
    responses: answers(200, DeadLetters, 'the dead letters'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    const { name, limit } = context.req.valid('query');
    return context.json({ deadLetters: await deps.queued.deadLetters(namespace, { name }, limit) }, 200);
  },
);

export const redrive = endpoint(
  {
    summary: 'Queue dead letters again, with as many attempts as they had at first',
    request: { params: OfNamespace, body: jsonBody(DeadLetterChoice) },
    responses: answers(200, DeadLettersMoved, 'those that are queued again, 1,000 at most'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    return context.json(await deps.queued.redrive(namespace, context.req.valid('json')), 200);
  },
);

export const purge = endpoint(
  {
    summary: 'Take dead letters off the list; their records stay for their time',
    request: { params: OfNamespace, body: jsonBody(DeadLetterChoice) },
    responses: answers(200, DeadLettersMoved, 'those that were taken off the list, 1,000 at most'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    return context.json(await deps.queued.purge(namespace, context.req.valid('json')), 200);
  },
);
