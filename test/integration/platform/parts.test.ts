/** The log of a gateway and a worker names their parts as they start and stop. */
import { expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';

interface Line {
  readonly name: string;
  readonly part?: string;
  readonly ms?: number;
  readonly msg: string;
}

test('a gateway and a worker start their parts in order and stop them in reverse, and log each with its time', async () => {
  const platform = await Platform.start();
  try {
    await platform.kill('gateway', 'SIGTERM');
    await platform.kill('worker', 'SIGTERM');
  } finally {
    await platform.stop();
  }
  const lines = platform.output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line)
    .filter(({ part }) => part !== undefined);
  for (const line of lines) expect(line.ms, line.part).toBeGreaterThanOrEqual(0);
  const named = (process: string, verb: string): string[] =>
    lines.flatMap(({ name, part, msg }) => (name === process && msg === `part ${verb}` ? [part ?? ''] : []));

  for (const [process, first, last, drained] of [
    ['gateway', 'redis', 'http', ['callbacks', 'http']],
    ['worker', 'shared time', 'code collector', ['calls', 'jobs']],
  ] as const) {
    const started = named(process, 'started');
    const stopped = named(process, 'stopped');
    expect([started[0], started.at(-1)]).toEqual([first, last]);
    expect(named(process, 'drained').toSorted()).toEqual(drained);
    // Those that do both come in opposite orders; connections go last.
    const both = started.filter((part) => stopped.includes(part));
    expect(both.length, process).toBeGreaterThan(4);
    expect(stopped.filter((part) => both.includes(part))).toEqual(both.toReversed());
    expect(stopped.at(-1)).toBe('redis');
  }
  expect(lines.filter(({ msg }) => msg.startsWith('part not'))).toEqual([]);
});
