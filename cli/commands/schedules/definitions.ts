/** The verbs of `offshoot schedules`: functions that run by themselves. */
import { define } from '../../verbs/definition.ts';

export const list = define({
  name: 'list',
  summary: 'list the functions that run by themselves, with their next times',
  args: {},
  options: {},
  examples: ['offshoot schedules list', 'offshoot schedules list --namespace shop --json'],
});
