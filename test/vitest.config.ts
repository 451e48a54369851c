import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** The tests run as a user who may not write in the checkout. */
const cache = join(process.env['OFFSHOOT_STATE'] ?? tmpdir(), 'vitest');
const limits = { testTimeout: 30_000, hookTimeout: 30_000 };

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  cacheDir: cache,
  test: {
    fsModuleCachePath: join(cache, 'modules'),
    projects: [
      { test: { ...limits, name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        test: {
          ...limits,
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          // They share the machine's cgroups and processors, and measure time.
          fileParallelism: false,
        },
      },
      // Those of seconds and minutes: they wait for limits, schedules and windows of time to pass.
      {
        test: {
          ...limits,
          name: 'slow',
          include: ['test/slow/**/*.test.ts'],
          fileParallelism: false,
        },
      },
      // Code and packages as users bring them: run from source by plain Node, and from the archive in a sandbox.
      {
        test: {
          ...limits,
          name: 'real',
          include: ['test/real/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          ...limits,
          name: 's3',
          // Those of the stores hold for both kinds; where the server is, both are tested.
          include: [
            'test/s3/**/*.test.ts',
            'test/unit/storage/artifacts/artifacts*.test.ts',
            'test/unit/storage/artifacts/blobs.test.ts',
          ],
          fileParallelism: false,
        },
      },
      {
        test: {
          ...limits,
          name: 'security',
          include: ['test/security/**/*.test.ts'],
          fileParallelism: false,
        },
      },
      {
        test: {
          ...limits,
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
        },
      },
      {
        test: {
          ...limits,
          name: 'browser',
          include: ['test/browser/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
        },
      },
      // Takes many minutes, and so runs only when asked for: npm run test:seccomp.
      ...(process.env['OFFSHOOT_TEST_SECCOMP'] === 'yes'
        ? [{ test: { ...limits, name: 'seccomp', include: ['test/seccomp/**/*.test.ts'] } }]
        : []),
    ],
  },
});
