/** The verbs of `offshoot batch`: many items that are sent together. */
import { define } from '../../verbs/definition.ts';
import { flag, required, text } from '../../verbs/options.ts';

const ID = required('id of the batch', 'offshoot batch list');
const EXAMPLE = '3f0e9d2c4b5a69788796a5b4c3d2e1f0';

export const run = define({
  name: 'run',
  summary: 'run a function for each item of a file, and show the progress',
  args: { file: required('one JSON value a line, or one JSON array; - for stdin') },
  options: {
    ofFunction: text('-f, --function <name>', 'function to run; without it, that of the current folder'),
    output: text('-o, --output <file>', 'write the result of each item to this file, in order'),
    detach: flag('--detach', 'do not wait for the end'),
  },
  examples: [
    'offshoot batch run orders.ndjson --function orders --output results.ndjson',
    'offshoot batch run - --function shop/orders --detach',
  ],
});

export const list = define({
  name: 'list',
  summary: 'list the latest batches of a namespace',
  args: {},
  options: {},
  examples: ['offshoot batch list', 'offshoot batch list --namespace shop --json'],
});

export const show = define({
  name: 'show',
  summary: 'show the state of a batch',
  args: { id: ID },
  options: {},
  examples: [`offshoot batch show ${EXAMPLE}`],
});

export const results = define({
  name: 'results',
  summary: 'print the result of each item, one JSON value a line',
  args: { id: ID },
  options: {
    completed: flag('--completed', 'in the order in which they were completed, not in that of the items'),
    follow: flag('--follow', 'go on until the batch has ended'),
  },
  examples: [`offshoot batch results ${EXAMPLE}`, `offshoot batch results ${EXAMPLE} --completed --follow`],
});

export const seal = define({
  name: 'seal',
  summary: 'say that no more items follow, so that the batch can end',
  args: { id: ID },
  options: {},
  examples: [`offshoot batch seal ${EXAMPLE}`],
});

export const cancel = define({
  name: 'cancel',
  summary: 'end a batch: items that wait do not run',
  args: { id: ID },
  options: {},
  examples: [`offshoot batch cancel ${EXAMPLE}`],
});
