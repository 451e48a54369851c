/** Restrictions of a sandbox beyond namespaces and ids: keyring, limits, speculation. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileC } from '../../support/sandbox/compile-c.ts';
import { type BenchSandbox, SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

/** Facts of this host: its session keyring (0: no keys), and PR_GET_SPECULATION_CTRL of indirect branches. */
const HOST = `
#include <stdio.h>
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
  long keyring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1);
  printf("[%ld,%d]", keyring, prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0));
  return 0;
}`;
/** PR_SPEC_PRCTL: a process may choose for itself. */
const CHOICE = 1;

const PROBE = `
import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
export default { fetch: (request) => new URL(request.url).pathname === '/limits'
  ? Response.json([readFileSync('/proc/self/limits', 'utf8'), execFileSync('/bin/cat', ['/proc/self/limits']).toString()])
  : new Response(execFileSync('/var/task/host')) };`;

describe('a sandbox', async () => {
  const program = await compileC(HOST);
  let bench: SandboxBench;
  let one: BenchSandbox;
  let other: BenchSandbox;
  let keyring = 0;
  let speculation = 0;
  beforeAll(async () => {
    bench = await SandboxBench.open();
    const code = await bench.addCode(PROBE, { host: program });
    one = await bench.start(code);
    other = await bench.start(code);
    const directory = mkdtempSync(join(tmpdir(), 'offshoot-probe-'));
    writeFileSync(join(directory, 'host'), program, { mode: 0o755 });
    [keyring = 0, speculation = 0] = JSON.parse(execFileSync(join(directory, 'host')).toString()) as number[];
    rmSync(directory, { recursive: true });
  });
  afterAll(async () => {
    await Promise.all([one.end(), other.end()]);
    await bench.close();
  });

  test('a sandbox has a session keyring of its own, and access to no other [IS10]', async (context) => {
    context.skip(keyring <= 0, 'the kernel lacks keyrings (CONFIG_KEYS)');
    const serials = [one, other].map(({ sandbox }) => sandbox.isolation?.sessionKeyring ?? 0);
    for (const serial of serials) expect(serial).toBeGreaterThan(0);
    expect(new Set([...serials, keyring]).size).toBe(3);
    // The program that found the host's keyring is refused inside.
    expect((await one.call('/host')).text).toMatch(/^\[-1,/);
  });

  test('a sandbox keeps its branch predictions apart where the kernel lets a process choose', (context) => {
    context.skip(
      (speculation & CHOICE) === 0,
      'the kernel lacks PR_SPEC_INDIRECT_BRANCH control for a process (PR_SPEC_PRCTL)',
    );
    expect(one.sandbox.isolation?.branchSpeculation).toBe('disabled');
  });

  test('a sandbox and its children are under the limits that no cgroup enforces [IS10]', async () => {
    const texts = JSON.parse((await one.call('/limits')).text) as string[];
    const expected = {
      'core file size': '0',
      'open files': '1024',
      'locked memory': '65536',
      'msgqueue size': '0',
      'pending signals': '32',
      'realtime priority': '0',
      'nice priority': '0',
    };
    for (const text of texts)
      for (const [name, value] of Object.entries(expected))
        expect(text, name).toMatch(new RegExp(`^Max ${name} +${value} +${value} `, 'm'));
  });
});
