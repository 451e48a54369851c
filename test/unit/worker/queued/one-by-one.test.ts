import { describe, expect, test } from 'vitest';
import { encodePayload } from '#contract/wire/payload.ts';
import { GroupResults, type Item } from '#storage/queued/groups.ts';
import { endOfItem, oneByOne, SparePermits } from '../../../../worker/queued/one-by-one.ts';

const NOW = Date.UTC(2026, 0, 1);
const item = (index: number): Item => ({ index, body: Buffer.from('1'), tries: 0 });

/** An answer of the function: a status, and a Retry-After where it has one. */
type Answer = readonly [status: number, retryAfter?: string];
const payloadOf = ([status, after]: Answer): Buffer =>
  encodePayload({ status, headers: after === undefined ? [] : [['Retry-After', after]] }, Buffer.from('"x"'));

async function waitOf(answers: readonly Answer[], spare = 0): Promise<number> {
  const results = new GroupResults();
  const { retryAfterMs } = await oneByOne(
    answers.map((_, index) => item(index)),
    results,
    {
      spare: new SparePermits(spare),
      alone: spare === 0,
      run: (one) => endOfItem(one, payloadOf(answers[one.index] ?? [500]), NOW),
    },
  );
  expect(results.kept).toHaveLength(answers.length);
  return retryAfterMs;
}

describe('the wait before items are tried again', () => {
  test.each<[string, readonly Answer[], number]>([
    ['is none where none is asked for', [[200], [503]], 0],
    ['is what the failed item asks for', [[200], [503, '7']], 7_000],
    [
      'is the longest that is asked for',
      [
        [503, '7'],
        [429, '30'],
        [503, '2'],
      ],
      30_000,
    ],
    ['may be a time', [[503, new Date(NOW + 90_000).toUTCString()]], 90_000],
    [
      'is not what an item says that has succeeded',
      [
        [200, '60'],
        [503, '7'],
      ],
      7_000,
    ],
    ['is none where it makes no sense', [[503, 'soon']], 0],
  ])('%s [QU3]', async (_, answers, wanted) => {
    expect(await waitOf(answers)).toBe(wanted);
    expect(await waitOf(answers, 4)).toBe(wanted);
  });
});
