/** The log of a gateway and a worker names their parts as they start and stop. */
import { expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';

interface Line {
  readonly name: string;
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly part?: string;
  readonly ms?: number;
  readonly msg: string;
}

test('a gateway and a worker start their parts in order and stop them in reverse, and log each with its time [ST9]', async () => {
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
  // A process that exits may write its last lines in another order, so their times count.
  const named = (process: string, verb: string): Map<string, number> =>
    new Map(
      lines
        .filter(({ name, msg }) => name === process && msg === `part ${verb}`)
        .map(({ part = '', time }) => [part, time]),
    );

  for (const [process, first, last, drained] of [
    ['gateway', 'redis', 'http', ['callbacks', 'http']],
    ['worker', 'shared time', 'code collector', ['calls', 'jobs']],
  ] as const) {
    const started = named(process, 'started');
    const stopped = named(process, 'stopped');
    expect([...started.keys()].at(0)).toBe(first);
    expect([...started.keys()].at(-1)).toBe(last);
    expect([...named(process, 'drained').keys()].toSorted()).toEqual(drained);
    const both = [...started.keys()].filter((part) => stopped.has(part));
    expect(both.length, process).toBeGreaterThan(4);
    for (const times of [
      both.map((part) => started.get(part)),
      both.toReversed().map((part) => stopped.get(part)),
    ])
      expect(times, process).toEqual(times.toSorted((a = 0, b = 0) => a - b));
    // Connections go last.
    expect(stopped.get('redis')).toBe(Math.max(...stopped.values()));
  }
  expect(lines.filter(({ msg }) => msg.startsWith('part not'))).toEqual([]);
});
