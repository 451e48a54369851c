/** The route that lists the schedules of a namespace's functions. */
import { Schedules } from '#contract/api/api.ts';
import { answers, endpoint, OfNamespace } from './endpoint.ts';

export const list = endpoint(
  {
    summary: 'Schedules of the functions of a namespace, with their next times',
    request: { params: OfNamespace },
    responses: answers(200, Schedules, 'the schedules'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    const found = await deps.functions.list(namespace);
    const schedules = found.flatMap(({ record }) =>
      record.settings.schedule ? [deps.schedules.view(namespace, record.name, record.settings.schedule)] : [],
    );
    return context.json({ schedules }, 200);
  },
);
