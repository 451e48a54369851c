/**
 * U1 to U4: quotas of a user, which the kernel also counts for the user above: the service user, common to all tenants.
 */
import { describe, expect, test } from 'vitest';
import { pendingSignalsHere } from '../../../worker/cgroup/user-limits.ts';
import { AttackBench } from '../attack-bench.ts';
import { Canaries } from '../canaries.ts';
import { scenarioTests } from '../scenarios/scenario.ts';
import { quotas, timersBeside, withSignalLimit } from '../scenarios/quotas.ts';

const TIMEOUT = 120_000;
const EACH = 32;

scenarioTests('quotas', quotas);

describe('signals and timers beyond the limit', () => {
  // kill(2) queues its signal whatever the limit is, and the signal counts.
  const beside = async (id: string, number: number, each: number): Promise<number> => {
    const canaries = await Canaries.plant();
    const bench = await AttackBench.open({ canaries });
    try {
      return (await timersBeside(bench, id, number, each)).left;
    } finally {
      await bench.close();
      await canaries.remove();
    }
  };

  test(
    'U3 pending-signals: processes with every signal pending leave another tenant its timers',
    { timeout: TIMEOUT },
    async ({ skip }) => {
      if (pendingSignalsHere() !== Infinity)
        skip(
          'the kernel lacks CAP_SYS_RESOURCE for root here, which lifts the limit of pending signals (RLIMIT_SIGPENDING)',
        );
      expect(await beside('U3', 3, EACH)).toBe(EACH);
    },
  );

  test(
    'U3 control: where the service user has a limit, timers of another tenant are missing',
    { timeout: TIMEOUT },
    async () => {
      expect(await withSignalLimit(1_000, () => beside('U3', 3, EACH))).toBe(0);
    },
  );

  test(
    'U2 control: with sandbox limits that exceed the user’s together, another tenant’s timers are missing',
    { timeout: TIMEOUT },
    async () => {
      expect(await withSignalLimit(1_000, () => beside('U2', 3, 1_024))).toBe(0);
    },
  );
});
