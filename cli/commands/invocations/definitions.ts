/** The verbs that act on invocations. */
import { define } from '../../verbs/definition.ts';
import { choice, flag, number, optional, required, text } from '../../verbs/options.ts';

const ID = required('id of the invocation', 'offshoot invocations');
const EXAMPLE = '7b1c0cf0a4e94a0e5d6c7a1b8f2e3d4c';

export const invocations = define({
  name: 'invocations',
  summary: 'list the latest invocations of a namespace or function',
  args: { name: optional('name of a function, or NAMESPACE/NAME') },
  options: {
    state: choice('--state <state>', 'only those in this state', ['queued', 'running', 'done']),
    outcome: text('--outcome <outcome>', 'only those with this outcome, such as timeout'),
    trace: text('--trace <id>', 'only those of this trace'),
    limit: number('--limit <count>', 'upper bound on their number', { least: 1, whole: true }),
  },
  examples: [
    'offshoot invocations',
    'offshoot invocations hello --state queued',
    'offshoot invocations --outcome timeout --limit 200',
  ],
});

export const trace = define({
  name: 'trace',
  summary: 'show where the time of an invocation went, and its log; or the same of a whole trace',
  details: 'With the id of a trace instead, it draws every function called in that trace as a tree.',
  args: { id: required('id of an invocation or of a trace', 'offshoot invocations') },
  options: { isolation: flag('--isolation', 'also show each protection that its sandbox had') },
  examples: [`offshoot trace ${EXAMPLE}`, `offshoot trace ${EXAMPLE} --isolation`],
});

export const why = define({
  name: 'why',
  summary: 'say in words where the time of an invocation went, and how to change it',
  args: { id: ID },
  options: {},
  examples: [`offshoot why ${EXAMPLE}`],
});

export const result = define({
  name: 'result',
  summary: 'print the answer of a queued invocation that has ended',
  args: { id: ID },
  options: {},
  examples: [`offshoot result ${EXAMPLE}`, `offshoot result ${EXAMPLE} --json`],
});

export const cancel = define({
  name: 'cancel',
  summary: 'end an invocation: one that waits does not run, one that runs is killed',
  args: { id: ID },
  options: {},
  examples: [`offshoot cancel ${EXAMPLE}`],
});

export const replay = define({
  name: 'replay',
  summary: 'queue the input of an invocation again, as a new invocation',
  args: { id: ID },
  options: {
    data: text('-d, --data <data>', 'another event: text, @FILE, or - for stdin'),
    version: number('--version-number <number>', 'another version of the function', {
      least: 1,
      whole: true,
    }),
  },
  examples: [
    `offshoot replay ${EXAMPLE}`,
    `offshoot replay ${EXAMPLE} --data @event.json --version-number 3`,
  ],
});
