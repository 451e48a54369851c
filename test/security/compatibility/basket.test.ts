/**
 * Scenario C9: users would switch off a filter that breaks honest programs. Fifty popular npm packages do their usual
 * work in a sandbox, those with native code, programs and WebAssembly among them. test/seccomp asks which entries of
 * the filter they need.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { NODE_RUNTIMES } from '../../support/runtime/node-runtimes.ts';
import { SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

const FUNCTIONS = fileURLToPath(new URL('../../../functions', import.meta.url));

describe.each(NODE_RUNTIMES)('the basket on %s', (runtime) => {
  test(
    `C9c node-compat: fifty popular npm packages, Node's modules and the image's programs work under the filter (${runtime})`,
    { timeout: 120_000 },
    async () => {
      const bench = await SandboxBench.open(runtime, undefined, FUNCTIONS);
      try {
        const one = await bench.start('basket', false, { memoryMb: 512, entry: 'src/index.mjs' });
        const names = JSON.parse((await one.call()).text) as string[];
        expect(names.length).toBeGreaterThanOrEqual(50);
        const failed: string[] = [];
        for (const name of names) {
          const { text } = await one.call(`/${encodeURIComponent(name)}`);
          const { ok, value } = JSON.parse(text) as { ok: boolean; value: unknown };
          if (!ok) failed.push(`${name}: ${JSON.stringify(value)}`);
        }
        await one.end();
        expect(failed).toEqual([]);
      } finally {
        await bench.close();
      }
    },
  );
});
