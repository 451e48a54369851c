/** The tests that a virtual machine with cgroup v2 runs; see infra/test/vm.sh. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/**
 * Factor by which things may be slower than on the host, in a machine whose processor is software and shares two cores
 * with other work. Only limits of time use it; no test asserts less.
 */
const SLOWNESS = 15;
/** Time for one test or hook. */
const PATIENCE_MS = 300_000;

const cache = join(process.env['OFFSHOOT_STATE'] ?? '/tmp', 'vitest');

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  cacheDir: cache,
  test: {
    fsModuleCachePath: join(cache, 'modules'),
    include: ['test/integration/sandbox/{isolation,isolation-receipt}.test.ts', 'test/vm/**/*.test.ts'],
    testTimeout: PATIENCE_MS,
    hookTimeout: PATIENCE_MS,
    env: { OFFSHOOT_TEST_SLOWNESS: String(SLOWNESS) },
    fileParallelism: false,
    reporters: [fileURLToPath(new URL('reporter.ts', import.meta.url))],
  },
});
