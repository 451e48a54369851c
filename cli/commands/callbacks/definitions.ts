/** The verbs of `offshoot callbacks`: the secret that callbacks are signed with. */
import { define } from '../../verbs/definition.ts';

export const secret = define({
  name: 'secret',
  summary: 'print the secret with which receivers verify callbacks of the namespace',
  args: {},
  options: {},
  examples: ['offshoot callbacks secret', 'offshoot callbacks secret --namespace shop > callback-secret'],
});

export const rotate = define({
  name: 'rotate',
  summary: 'make a new secret and print it; the old one holds for another day',
  args: {},
  options: {},
  examples: ['offshoot callbacks rotate'],
});
