/** U1 to U4: quotas by user, which the kernel counts up to the user whom all tenants share. */
import { describe, expect, test } from 'vitest';
import { pendingSignalsHere } from '../../worker/user-limits.ts';
import { AttackBench } from './attack-bench.ts';
import { Canaries } from './canaries.ts';
import { scenarioTests } from './scenario.ts';
import { quotas, timersBeside, withSignalLimit } from './scenarios/quotas.ts';

const TIMEOUT = 120_000;
const EACH = 32;

scenarioTests('quotas', quotas);

describe('what counts over the limit', () => {
  // kill(2) queues its signal whatever the limit is, and it counts.
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
        skip('the service user has a limit of pending signals that only root can lift');
      expect(await beside('U3', 3, EACH)).toBe(EACH);
    },
  );

  test('U3 control: where the service user has a limit, they do not', { timeout: TIMEOUT }, async () => {
    expect(await withSignalLimit(1_000, () => beside('U3', 3, EACH))).toBe(0);
  });

  test('U2 control: with limits that are more together than the user’s', { timeout: TIMEOUT }, async () => {
    expect(await withSignalLimit(1_000, () => beside('U2', 3, 1_024))).toBe(0);
  });
});
