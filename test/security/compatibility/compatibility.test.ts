/** C9: barriers against attackers must not break honest functions. */
import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NODE_RUNTIMES } from '../../support/runtime/node-runtimes.ts';
import { SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));
const uses = fileURLToPath(new URL('uses/', import.meta.url));

describe.each(NODE_RUNTIMES)('%s', (runtime) => {
  let bench: SandboxBench;
  beforeAll(async () => {
    bench = await SandboxBench.open(runtime);
  });
  afterAll(() => bench.close());

  test.each([
    ['node', 'over 20 uses of Node’s modules', 20],
    ['packages', 'npm packages and a program in Go', 8],
  ])(
    `C9 node-compat: %s, $1 work under the filter (${runtime})`,
    { timeout: 120_000 },
    async (basket, _, atLeast) => {
      const report = await use(bench, basket);
      expect(report.failures).toEqual({});
      expect(report.uses).toBeGreaterThan(atLeast);
    },
  );
});

/** Runs all uses of a basket in a sandbox, as a deployed bundle would run. */
async function use(bench: SandboxBench, basket: string): Promise<{ uses: number; failures: object }> {
  const folder = await mkdtemp(join(tmpdir(), 'offshoot-uses-'));
  await chmod(folder, 0o755);
  const entry = `
    import { uses } from ${JSON.stringify(join(uses, `${basket}.mjs`))};
    export default { async fetch() {
      const failures = {};
      for (const [name, use] of Object.entries(uses)) {
        try { await use(); } catch (error) { failures[name] = String(error.stack ?? error); }
      }
      return Response.json({ uses: Object.keys(uses).length, failures });
    } };`;
  await build({
    stdin: { contents: entry, resolveDir: checkout },
    outfile: join(folder, 'bundle.cjs'),
    bundle: true,
    platform: 'node',
    format: 'cjs',
    logLevel: 'silent',
  });
  await copyFile(join(checkout, 'node_modules/@esbuild/linux-x64/bin/esbuild'), join(folder, 'esbuild'));
  await writeFile(join(folder, 'index.mjs'), `export { default } from './bundle.cjs';`);
  const code = await bench.addDirectory(folder);
  await rm(folder, { recursive: true });
  const sandbox = await bench.start(code);
  const { text } = await sandbox.call();
  await sandbox.end();
  return JSON.parse(text) as { uses: number; failures: object };
}
