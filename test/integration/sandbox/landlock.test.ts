/** Landlock, the barrier behind mounts, ids and filter: what it refuses by itself, and what functions still can do. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileC } from '../../support/sandbox/compile-c.ts';
import { type BenchSandbox, SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

/** The ABI version that the kernel itself reports; 0 where it has no Landlock. */
const ABI = `
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
  long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
  printf("%ld", abi < 0 ? 0 : abi);
  return 0;
}`;

const PROBE = `
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, renameSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
const attempt = (work) => { try { return work() ?? 'done'; } catch (error) { return error.stderr?.toString() ?? error.code ?? String(error); } };
const shell = (text) => execFileSync('/bin/sh', ['-c', text], { stdio: 'pipe' }).toString();
const probes = {
  '/own-proc': () => attempt(() => shell('echo renamed > /proc/self/comm')),
  '/null': () => attempt(() => shell('echo x > /dev/null; echo y > /dev/stderr; head -c 4 /dev/urandom | wc -c').trim()),
  '/tmp': () => attempt(() => {
    mkdirSync('/tmp/a'); mkdirSync('/tmp/b');
    writeFileSync('/tmp/a/file', 'text'); renameSync('/tmp/a/file', '/tmp/b/file'); linkSync('/tmp/b/file', '/tmp/a/link');
    symlinkSync('file', '/tmp/b/symlink'); truncateSync('/tmp/b/symlink', 2);
    return readFileSync('/tmp/a/link', 'utf8'); }),
  '/rest': () => attempt(() => shell('/var/task/abi')),
};
export default { fetch: (request) => Response.json(probes[new URL(request.url).pathname]()) };`;

describe('a sandbox on a kernel with Landlock', async () => {
  const program = await compileC(ABI);
  let bench: SandboxBench;
  let sandbox: BenchSandbox;
  let abi = 0;
  const ask = async (path: string): Promise<unknown> => JSON.parse((await sandbox.call(path)).text);
  beforeAll(async () => {
    bench = await SandboxBench.open();
    sandbox = await bench.start(await bench.addCode(PROBE, { abi: program }));
    abi = Number(execFileSync(`${bench.store}/code-0/abi`).toString());
  });
  afterAll(async () => {
    await sandbox.end();
    await bench.close();
  });

  test('a sandbox reports the Landlock ABI in force and its filter', () => {
    expect(sandbox.sandbox.isolation?.landlockAbi).toBe(abi < 2 ? 0 : abi);
    const built = readFileSync(new URL('../../../worker/native/build/seccomp_filter.json', import.meta.url));
    const { sha256 } = JSON.parse(built.toString()) as { sha256: string };
    expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(sandbox.sandbox.isolation?.seccompFilter).toBe(sha256);
  });

  test('a sandbox is refused even those files under /proc that are its own [IS9]', async (context) => {
    context.skip(abi < 2, `the kernel lacks Landlock of ABI 2 (has ${abi})`);
    // Control: without Landlock, a process may name itself.
    expect(execFileSync('/bin/sh', ['-c', 'echo renamed > /proc/self/comm']).toString()).toBe('');
    expect(await ask('/own-proc')).toMatch(/Permission denied/);
  });

  test('a sandbox may not make Landlock rules of its own', async () => {
    expect(await ask('/rest')).toBe('0');
  });

  test('a sandbox uses /tmp as any file system, and its devices too', async () => {
    expect(await ask('/tmp')).toBe('te');
    expect(await ask('/null')).toBe('4');
  });
});
