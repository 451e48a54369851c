/**
 * A scenario tries one attack and returns everything that it should not have got: nothing, when the isolation holds.
 * The same function is the test of the product and the control of a build that lacks a layer.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AttackBench } from '../attack-bench.ts';

export interface Scenario {
  /** `name: the attempts and their expected result`. */
  readonly title: string;
  run(bench: AttackBench): Promise<string[]>;
  readonly timeoutMs?: number;
  /** Feature that this host lacks, so that the scenario is skipped. */
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
