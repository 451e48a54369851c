/** The verbs that act on functions. */
import { define } from '../../verbs/definition.ts';
import { choice, flag, number, optional, required, text, texts, usually } from '../../verbs/options.ts';

const NAME = required('name of the function, or NAMESPACE/NAME', 'offshoot list');
const FOLDER = optional('folder with an offshoot.json; without it, the current one');

export const init = define({
  name: 'init',
  summary: 'make a folder with a new function',
  args: { name: required('name of the function and of the folder') },
  options: {
    template: usually(
      choice('-t, --template <template>', 'form of the function', ['fetch', 'hono', 'lambda']),
      'fetch',
    ),
    install: flag('--no-install', 'do not install the npm packages of the template'),
  },
  examples: ['offshoot init hello', 'offshoot init api --template hono'],
});

export const dev = define({
  name: 'dev',
  summary: 'deploy at every change and follow the log; starts the platform if none runs',
  args: { folder: FOLDER },
  options: {},
  examples: ['offshoot dev  # until Ctrl-C', 'offshoot dev functions/hono-zod'],
});

export const deploy = define({
  name: 'deploy',
  summary: 'bundle the function of a folder, upload it, and wait until a worker has loaded it',
  args: { folder: FOLDER },
  options: {},
  examples: ['offshoot deploy', 'offshoot deploy functions/hono-zod --namespace shop'],
});

export const invoke = define({
  name: 'invoke',
  summary: 'call a function and print its answer',
  details:
    'Data alone is sent as an event, which is JSON. With a path, a method or a header, the call goes to the URL of the function, ' +
    'and data is the body. With --async, the event waits in the queue of its namespace, and the command prints the id of the ' +
    'invocation.',
  args: { name: NAME },
  options: {
    data: text('-d, --data <data>', 'event or body: text, @FILE, or - for stdin'),
    path: text('-p, --path <path>', 'call over HTTP with this path and query'),
    method: text('-X, --method <method>', 'call over HTTP with this method'),
    headers: texts('-H, --header <header>', 'call over HTTP with this header'),
    async: flag('-a, --async', 'queue the event and do not wait for its end'),
    delay: number('--delay <seconds>', 'with --async: seconds before it may start'),
    ttl: number('--ttl <seconds>', 'with --async: seconds after which it does not start any more'),
    priority: number('--priority <number>', 'with --async: its place in the queue; 1 starts first'),
    idempotencyKey: text(
      '--idempotency-key <key>',
      'with --async: the same key means the same invocation for 24 hours',
    ),
    callback: text('--callback <url>', 'with --async: URL that a signed POST tells how it ended'),
  },
  examples: [
    'offshoot invoke hello',
    `offshoot invoke hello --data '{"name":"Ada"}'`,
    `offshoot invoke api --method PUT --path '/items/7?dry=1' --header 'Accept: text/plain' --data @item.json`,
    `offshoot invoke hello --async --data '{"name":"Ada"}' --delay 5 --idempotency-key first`,
  ],
});

export const list = define({
  name: 'list',
  summary: 'list the functions of a namespace, or of all namespaces of the key',
  args: {},
  options: {},
  examples: ['offshoot list', 'offshoot list --namespace shop --json'],
});

export const describe = define({
  name: 'describe',
  summary: 'show a function, its limits, its versions and its latest invocations',
  args: { name: NAME },
  options: {},
  examples: ['offshoot describe hello', 'offshoot describe shop/orders --json'],
});

export const logs = define({
  name: 'logs',
  summary: 'show the lines that a function has printed',
  args: { name: NAME },
  options: {
    follow: flag('-f, --follow', 'also show new lines, until Ctrl-C'),
    invocation: text('-i, --invocation <id>', 'only lines of this invocation'),
    grep: text('-g, --grep <text>', 'only lines that contain this text'),
    since: text('-s, --since <time>', 'only lines since then: 30s, 10m, 2h or 1d ago, or a date'),
    outcome: text('-o, --outcome <outcome>', 'only lines of invocations with this outcome, such as timeout'),
    level: choice('-l, --level <level>', 'only lines of this level or a graver one', [
      'debug',
      'info',
      'warn',
      'error',
    ]),
  },
  examples: [
    'offshoot logs hello -f',
    'offshoot logs hello --since 10m --level warn',
    'offshoot logs hello --outcome timeout --grep upstream',
  ],
});

export const top = define({
  name: 'top',
  summary: 'show functions and sandboxes live; q quits',
  args: {},
  options: {
    interval: usually(number('--interval <seconds>', 'seconds between two refreshes', { least: 0.5 }), 2),
    once: flag('--once', 'print one table and end'),
  },
  examples: ['offshoot top', 'offshoot top --once --namespace shop'],
});

export const rm = define({
  name: 'rm',
  summary: 'remove a function and all its versions',
  args: { name: NAME },
  options: { yes: flag('-y, --yes', 'do not ask') },
  examples: ['offshoot rm hello', 'offshoot rm shop/orders --yes'],
});
