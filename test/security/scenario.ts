/**
 * A scenario tries one thing and gives what it got that it should not have got: nothing, when the isolation holds. The
 * same function is the test of the product and the control of a build that lacks a layer.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AttackBench } from './attack-bench.ts';

export interface Scenario {
  /** `name: what was tried and what must come of it`. */
  readonly title: string;
  run(bench: AttackBench): Promise<string[]>;
  readonly timeoutMs?: number;
  /** What this host lacks for it, so that it is skipped. */
  missing?(): string | undefined;
}

/** A test for each scenario, on one bench, named by its id. */
export function scenarioTests(family: string, scenarios: Readonly<Record<string, Scenario>>): void {
  describe(family, () => {
    let bench: AttackBench;
    beforeAll(async () => {
      bench = await AttackBench.open();
    });
    afterAll(() => bench.close());

    for (const [id, scenario] of Object.entries(scenarios)) {
      const { title, timeoutMs = 120_000 } = scenario;
      test(`${id} ${title}`, { timeout: timeoutMs }, async ({ skip }) => {
        const missing = scenario.missing?.();
        if (missing !== undefined) skip(missing);
        const got = await scenario.run(bench);
        expect([...got, ...(await bench.breaches())]).toEqual([]);
      });
    }
  });
}
