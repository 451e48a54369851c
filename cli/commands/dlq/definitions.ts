/** The verbs of `offshoot dlq`: queued invocations that have failed for good. */
import { define } from '../../verbs/definition.ts';
import { flag, optional, required, text } from '../../verbs/options.ts';

const EXAMPLE = '7b1c0cf0a4e94a0e5d6c7a1b8f2e3d4c';
const ONE = optional('id of one dead letter');
const ALL = flag('--all', 'all dead letters of the namespace');

export const list = define({
  name: 'list',
  summary: 'list the dead letters of a namespace',
  args: {},
  options: { ofFunction: text('-f, --function <name>', 'only those of this function') },
  examples: ['offshoot dlq list', 'offshoot dlq list --function orders'],
});

export const show = define({
  name: 'show',
  summary: 'show the tries, the error and the log of a dead letter',
  args: { id: required('id of the dead letter', 'offshoot dlq list') },
  options: {},
  examples: [`offshoot dlq show ${EXAMPLE}`],
});

export const redrive = define({
  name: 'redrive',
  summary: 'queue dead letters again, with as many tries as at first',
  args: { id: ONE },
  options: { ofFunction: text('-f, --function <name>', 'all dead letters of this function'), all: ALL },
  examples: [`offshoot dlq redrive ${EXAMPLE}`, 'offshoot dlq redrive --function orders'],
});

export const purge = define({
  name: 'purge',
  summary: 'take dead letters off the list for good',
  args: { id: ONE },
  options: {
    ofFunction: text('-f, --function <name>', 'all dead letters of this function'),
    all: ALL,
    yes: flag('-y, --yes', 'do not ask'),
  },
  examples: [`offshoot dlq purge ${EXAMPLE}`, 'offshoot dlq purge --all --yes'],
});
