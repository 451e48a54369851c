/** A deploy is refused where the settings need a handler that the module does not have. */
import { expect, test } from 'vitest';
import { Manifest } from '#contract/functions/manifest.ts';
import { partsOf } from '#contract/functions/settings.ts';
import type { HandlerName } from '#contract/wire/channel.ts';
import { checkHandlers } from '../../../../gateway/functions/needed-handlers.ts';
import { readHandlers } from '../../../../worker/sandbox/start-up.ts';

const SCHEDULE = { schedule: { cron: '0 3 * * *' } };
const BATCH = { batch: { size: 5 } };

test.each([
  [SCHEDULE, ['fetch'], 'has a schedule, but the module has only fetch()'],
  [SCHEDULE, ['fetch', 'queue'], 'has only fetch() and queue()'],
  [SCHEDULE, ['scheduled'], undefined],
  [SCHEDULE, ['handler'], undefined],
  [BATCH, ['scheduled'], 'has "batch", but the module has only scheduled()'],
  [BATCH, ['queue'], undefined],
  [BATCH, ['fetch'], undefined],
  [{}, ['fetch'], undefined],
  // A runtime that does not say which handlers there are.
  [{ ...SCHEDULE, ...BATCH }, undefined, undefined],
] satisfies [object, HandlerName[] | undefined, string | undefined][])(
  '%j with %j',
  (settings, handlers, problem) => {
    const { ofFunction, ofVersion } = partsOf(Manifest.parse({ name: 'one', ...settings }));
    const check = (): void => checkHandlers(handlers, ofFunction, ofVersion);
    if (problem === undefined) expect(check).not.toThrow();
    else expect(check).toThrow(problem);
  },
);

test.each([
  ['{"init":1,"handlers":["queue","fetch","fetch","root"]}', ['fetch', 'queue']],
  ['{"init":1,"handlers":"fetch"}', undefined],
  ['{"init":1}', undefined],
  ['null', undefined],
  ['{', undefined],
])('a sandbox says %s, and only names that exist are taken', (text, wanted) => {
  expect(readHandlers(Buffer.from(text))).toEqual(wanted);
});
