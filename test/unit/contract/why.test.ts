/** Texts of `offshoot why`, for each way in which an invocation can end or wait. */
import { describe, expect, test } from 'vitest';
import {
  ColdReason,
  DeadReason,
  type InvocationRecord,
  type OpenInvocation,
  Outcome,
} from '#contract/invocations/invocation.ts';
import { nextWith } from '#contract/invocations/next.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { why } from '#contract/invocations/why.ts';
import { stackedBar } from '../../../cli/commands/invocations/why.ts';

const identity = {
  id: 'i1',
  namespace: 'shop',
  name: 'orders',
  version: 3,
  lane: 'sync',
  method: 'GET',
  path: '/',
  traceId: '1'.repeat(32),
  spanId: '2'.repeat(16),
  sampled: true,
  startedAt: 1_000_000,
  requestBytes: 0,
} as const;

const timings = { acquire: 0.1, init: 0, run: 100, total: 100.1 };

function record(
  changes: Partial<InvocationRecord> = {},
  report: Partial<NonNullable<InvocationRecord['report']>> = {},
): InvocationRecord {
  const outcome = changes.outcome ?? 'ok';
  return {
    ...identity,
    state: 'done',
    outcome,
    status: OUTCOMES[outcome].status,
    duration: 101,
    gateway: 0.4,
    queue: 0.5,
    responseBytes: 2,
    report: { outcome, worker: 'w1', sandbox: 's1', timings, logBytes: 0, logBytesDropped: 0, ...report },
    ...changes,
  };
}

const text = (of: Parameters<typeof why>[0]): string => why(of, 1_060_000).sentences.join(' ');
const advice = (of: Parameters<typeof why>[0]): string => why(of, 1_060_000).advice.join(' ');

describe('why', () => {
  test.each(Outcome.options.filter((one) => one !== 'ok'))(
    'offshoot why says for %s what it means, and what to do next',
    (outcome) => {
      expect(text(record({ outcome }))).toContain(
        `It ended as ${outcome} after 101 ms: ${OUTCOMES[outcome].meaning}`,
      );
      expect(why(record({ outcome }), 0).advice[0]).toBe(nextWith(OUTCOMES[outcome].next, 'i1'));
    },
  );

  test('a cancelled one says who cancelled it, also when its sandbox was killed for it [OB32]', () => {
    const said = text(
      record(
        { outcome: 'cancelled', cancelledBy: { by: 'batch', key: 'k1' }, message: 'its worker was lost' },
        { exitCause: 'signal SIGKILL' },
      ),
    );
    expect(said).toContain('the invocation was cancelled before it ended (its worker was lost)');
    expect(said).toContain('It was cancelled with its batch, by the API key k1.');
  });

  test.each(ColdReason.options)(
    'offshoot why gives the cost of a cold start for %s, and something to change [OB5]',
    (coldReason) => {
      const cold = record(
        { duration: 131 },
        { acquired: 'cold', coldReason, timings: { acquire: 20, init: 10, run: 100, total: 130 } },
      );
      expect(text(cold)).toMatch(/It was cold by 30 ms: a sandbox was started, because \w+/);
      expect(why(cold, 0).advice.length).toBeGreaterThan(0);
      const warm = record({}, { acquired: 'idle' });
      expect(text(warm)).not.toContain('cold');
    },
  );

  test('offshoot why names another setting for each reason', () => {
    const said = ColdReason.options.map((coldReason) => text(record({}, { acquired: 'cold', coldReason })));
    expect(new Set(said).size).toBe(ColdReason.options.length);
    expect(advice(record({}, { acquired: 'cold', coldReason: 'evicted' }))).toContain(
      'OFFSHOOT_KEEP_ALIVE_S',
    );
    expect(advice(record({}, { acquired: 'cold', coldReason: 'single_use' }))).toContain('isolation.mode');
    expect(advice(record({}, { acquired: 'prepared', coldReason: 'all_busy' }))).toContain('"concurrency"');
  });

  test('a run that computed and one that waited are told apart by their processor time', () => {
    expect(text(record({}, { usage: { cpu: 95, memoryPeak: 1 } }))).toContain(
      'computed for nearly all of it',
    );
    expect(text(record({}, { usage: { cpu: 3, memoryPeak: 1 } }))).toContain('waited for most of it');
    expect(text(record({}, { usage: { cpu: 50, memoryPeak: 1 } }))).toMatch(
      /ran for 100 ms \(99 %\), with 50 ms/,
    );
    // The cgroup was gone before it could be read.
    expect(text(record({}, { usage: { cpu: -1, memoryPeak: -1 } }))).not.toContain('processor');
  });

  test('offshoot why names the longest phase, and what would shorten it', () => {
    const waited = record({ queue: 900, duration: 1_001 });
    expect(text(waited)).toContain('It waited 900 ms (90 %) for a worker');
    expect(advice(waited)).toContain('OFFSHOOT_CAPACITY');
    const loaded = record({ duration: 501 }, { timings: { ...timings, init: 400 } });
    expect(text(loaded)).toContain('Loading its module took 400 ms');
    const stood = record({ duration: 401 }, { acquired: 'idle', timings: { ...timings, acquire: 300 } });
    expect(text(stood)).toContain('for a free sandbox of the function');
    expect(text(record({ duration: 900 }))).toContain('a slow reader');
  });

  test('offshoot why explains attempts and dead letters', () => {
    const attempts = [
      { startedAt: 1_000_010, endedAt: 1_000_110, worker: 'w1', outcome: 'timeout' as const },
      { startedAt: 1_002_110, endedAt: 1_002_210, worker: 'w2', outcome: 'error' as const },
    ];
    const dead = record({
      outcome: 'error',
      lane: 'queued',
      duration: 2_210,
      queue: 2_110,
      attempts,
      dead: 'attempts_used',
    });
    expect(text(dead)).toContain('tried 2 times; 2 of the tries failed (1 × timeout, 1 × error)');
    expect(advice(dead)).toContain('offshoot dlq redrive i1');
    expect(why(dead, 0).parts).toEqual([
      { name: 'wait', ms: 10 },
      { name: 'try 1', ms: 100 },
      { name: 'wait', ms: 2_000 },
      { name: 'try 2', ms: 100 },
    ]);
    for (const reason of DeadReason.options)
      expect(text(record({ outcome: 'error', dead: reason }))).toContain('It is a dead letter, because');
  });

  test('offshoot why names refused calls and destinations', () => {
    const refused = record(
      { outcome: 'pids_limit' },
      {
        pidsRefused: 4,
        denied: [{ to: '10.0.0.1:22', count: 1 }],
        refusedCalls: ['socket(AF_VSOCK)'],
        logBytesDropped: 9,
      },
    );
    for (const said of ['4 processes', '10.0.0.1:22', 'socket(AF_VSOCK)', '9 bytes of its output'])
      expect(text(refused)).toContain(said);
    for (const setting of ['"pids"', '"network.egress"', '"logSize"'])
      expect(advice(refused)).toContain(setting);
  });

  test('offshoot why says what an open invocation waits for', () => {
    const open: OpenInvocation = { ...identity, lane: 'queued', state: 'queued' };
    expect(text(open)).toBe('It has waited 60.0 s for a worker.');
    expect(text({ ...open, dueAt: 1_065_000 })).toContain('It waits for the end of its delay, in 5.00 s');
    const tried = [{ startedAt: 1_000_000, endedAt: 1_000_100, worker: 'w', outcome: 'error' as const }];
    const again = text({ ...open, dueAt: 1_065_000, attempts: tried });
    expect(again).toBe('It waits for its next try, in 5.00 s. Before, it was tried once (1 × error).');
    const running = text({ ...open, state: 'running', attempts: [{ startedAt: 1_058_000, worker: 'w' }] });
    expect(running).toBe('It has been running for 2.00 s.');
  });

  test('the bar is to scale, shows every phase that took time, and never exceeds its width', () => {
    const [bar = '', legend = ''] = stackedBar(why(record({ queue: 100, duration: 201 }), 0).parts, 40);
    expect(bar.length).toBe(40);
    const columns = Map.groupBy(bar, (column) => column);
    expect(
      [...columns.values()]
        .map(({ length }) => length)
        .toSorted((a, b) => b - a)
        .slice(0, 2),
    ).toEqual([18, 18]);
    expect(legend).toContain('gateway 0.40 ms');
    expect(stackedBar([], 40)).toEqual([]);
  });
});
