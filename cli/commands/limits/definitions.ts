/** The verbs of `offshoot limits`: the share of the platform that a namespace may take. */
import { define } from '../../verbs/definition.ts';
import { numberOr } from '../../verbs/options.ts';

/** Value that takes a limit away. */
export const NONE = 'none';

export const show = define({
  name: 'show',
  summary: 'show the limits of a namespace',
  args: {},
  options: {},
  examples: ['offshoot limits show', 'offshoot limits show --namespace shop --json'],
});

export const set = define({
  name: 'set',
  summary: 'set limits of a namespace; "none" takes one away',
  args: {},
  options: {
    concurrency: numberOr('--concurrency <count>', 'invocations that may run at the same time', NONE),
    rate: numberOr('--rate <number>', 'invocations that may start in a second', NONE),
    burst: numberOr('--burst <count>', 'with a rate: invocations that may start at once', NONE),
    weight: numberOr('--weight <number>', 'share of a worker beside other namespaces; 1 unless set', NONE),
    maxQueued: numberOr('--max-queued <count>', 'invocations that may wait in its queue', NONE),
  },
  examples: [
    'offshoot limits set --namespace shop --concurrency 100 --rate 500 --burst 1000',
    'offshoot limits set --namespace shop --rate none',
  ],
});
