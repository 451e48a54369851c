import { readFileSync, globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { faultsOf } from './promises.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));
const read = (path: string): string => readFileSync(`${checkout}/${path}`, 'utf8');

test('SPECIFICATION.md and the titles of the tests name each other', () => {
  const all = globSync('test/{**/*.test.ts,security/scenarios/*.ts,vm/guest.sh}', { cwd: checkout });
  // The samples below have ids of no promise.
  const paths = all.filter((path) => !import.meta.url.endsWith(path));
  const files = new Map(paths.map((path) => [path.slice('test/'.length), read(path)]));
  expect(files.size).toBeGreaterThan(100);
  expect(faultsOf(read('SPECIFICATION.md'), files)).toEqual([]);
});

const ROW = '| CA1 | Calls end. | `unit/a.test.ts` Q1, Q2 |';
const TESTS = `test('ends [CA1]'); test('Q1 kill: ends'); test.each([['Q2 stop: ends', 1]])('%s')`;
test.each([
  ['nothing, where all agree', ROW, TESTS, []],
  [
    'a promise without a test',
    ROW,
    TESTS.replace(' [CA1]', ''),
    ['CA1 stands in no title of the tests that it names'],
  ],
  [
    'a file that does not exist',
    ROW.replace(' Q1', ', `unit/b.test.ts`; `unit/a.test.ts` Q1'),
    TESTS,
    ['CA1 names unit/b.test.ts, which does not exist'],
  ],
  [
    'an id that no promise has',
    ROW,
    `${TESTS}; test('more [CA1, CA2]')`,
    ['CA2 stands in a title of unit/a.test.ts, but no promise names it there'],
  ],
  ['an id that is defined twice', `${ROW}\n${ROW}`, TESTS, ['CA1 is defined twice']],
  [
    'a scenario that no promise names',
    ROW,
    `${TESTS}; test('Q3 stop: ends')`,
    ['Q3 stands in a title of unit/a.test.ts, but no promise names it there'],
  ],
  [
    'a scenario that its file does not have',
    ROW.replace('Q2', 'Q2 to Q4'),
    TESTS,
    [
      'CA1 names the scenario Q3 of unit/a.test.ts, which has none',
      'CA1 names the scenario Q4 of unit/a.test.ts, which has none',
    ],
  ],
])('the comparison reports %s', (_, specification, titles, faults) => {
  expect(faultsOf(specification, new Map([['unit/a.test.ts', titles]]))).toEqual(faults);
});
