/**
 * K0 to K5, K10, K11: with one layer switched off, the scenarios that stand on it turn red. What they see of the product then
 * means something. The product cannot be switched like this: these are builds of the tests' own (builds.ts).
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AttackBench, type Attempt } from '../attack-bench.ts';
import { buildAttacks, imageWithout, imageWithoutReseed, NATIVE_LAYERS } from '../builds.ts';
import { Canaries } from '../canaries.ts';
import type { Scenario } from '../scenarios/scenario.ts';
import { calls } from '../scenarios/calls.ts';
import { reachSibling } from '../scenarios/network.ts';
import { processes } from '../scenarios/processes.ts';
import { quotas, userQuotas } from '../scenarios/quotas.ts';
import { locksSeen } from '../scenarios/shared.ts';
import { repeatedValues, runtime } from '../scenarios/runtime.ts';

const run = promisify(execFile);
const native = fileURLToPath(new URL('../../../worker/native', import.meta.url));
const CONTROL_MS = 180_000;
/** Enough for values that repeat in every fork. */
const FEW_FORKS = 5;

describe('controls', () => {
  let canaries: Canaries;
  beforeAll(async () => {
    canaries = await Canaries.plant();
  });
  afterAll(() => canaries.remove());

  /** Result of a scenario on sandboxes that were forked from this image. */
  async function gotFrom(image: string, work: (bench: AttackBench) => Promise<string[]>): Promise<string[]> {
    const bench = await AttackBench.open({ image, canaries });
    try {
      return await work(bench);
    } finally {
      await bench.close();
    }
  }

  const scenario =
    (attacked: Scenario) =>
    (bench: AttackBench): Promise<string[]> =>
      attacked.run(bench);
  const named = (scenarios: Readonly<Record<string, Scenario>>, id: string): Scenario => {
    const found = scenarios[id];
    if (!found) throw new Error(`there is no scenario ${id}`);
    return found;
  };

  test('K1 seccomp off: C1 to C7 and U1 turn red', { timeout: CONTROL_MS }, async () => {
    const image = await imageWithout('SECCOMP');
    for (const id of ['C1', 'C2', 'C3', 'C4', 'C5', 'C6', 'C7'])
      expect(await gotFrom(image, scenario(named(calls, id))), id).not.toEqual([]);
    expect(await gotFrom(image, scenario(named(quotas, 'U1'))), 'U1').not.toEqual([]);
    // The second barrier, the chroot, still keeps nested user namespaces away.
    const nested = await gotFrom(image, scenario(named(processes, 'A5')));
    expect(nested.filter((got) => got.includes('succeeded'))).toEqual([]);
  });

  test('K2 one uid for all: A3 and U4 turn red', { timeout: CONTROL_MS }, async () => {
    const got = await gotFrom(await imageWithout('DISTINCT_UID'), scenario(named(processes, 'A3')));
    expect(got).toContain('two sandboxes share an id of the host');
    // Uses one bench for both tenants, who must not share an id of the host. The listener of the filter cannot even be
    // sent: that needs a descriptor in flight, and all are taken.
    const shared = gotFrom(await imageWithout('DISTINCT_UID'), userQuotas);
    await expect(shared).rejects.toThrow(/send the listener of the filter: Too many references/);
  });

  test(
    'K3 descriptors not renewed: the self-audit refuses; without it, F1 turns red',
    { timeout: CONTROL_MS },
    async () => {
      const f1 = scenario(named(runtime, 'F1'));
      await expect(gotFrom(await imageWithout('CLOSE_RANGE'), f1)).rejects.toThrow(
        /audit: descriptor \d+ \(.+\) is the zygote's as well/,
      );
      // F1 harms the zygote, whose descriptors it shares, and so itself.
      const got = await gotFrom(await imageWithout('CLOSE_RANGE', 'AUDIT'), (bench) =>
        f1(bench).catch((error: unknown) => [String(error)]),
      );
      expect(got.join()).toMatch(/is shared: pipe/);
    },
  );

  test('K4 randomness not refreshed: F4 and F5 turn red', { timeout: CONTROL_MS }, async () => {
    const image = await imageWithoutReseed();
    const repeated = await gotFrom(image, (bench) => repeatedValues(bench, FEW_FORKS));
    expect(repeated.join()).toMatch(/Math\.random: 1 values/);
    expect(repeated.join()).toMatch(/crypto\.randomUUID: 1 values/);
    expect(await gotFrom(image, scenario(named(runtime, 'F5')))).not.toEqual([]);
  });

  test(
    'K5 no network namespace: a sibling is reached over loopback and abstract sockets',
    { timeout: CONTROL_MS },
    async () => {
      const product = join(process.env['OFFSHOOT_STATE'] ?? '', 'images/node26');
      expect(await gotFrom(product, reachSibling)).toEqual([]);
      // Landlock (ABI 6) separates abstract sockets by itself, so both barriers must be off for this one.
      expect(await gotFrom(await imageWithout('NETNS'), reachSibling)).toContain(
        "connect of a sibling's port",
      );
      expect(await gotFrom(await imageWithout('NETNS', 'LANDLOCK'), reachSibling)).toEqual([
        "connect of a sibling's port",
        "connect of a sibling's abstract socket",
      ]);
    },
  );

  test(
    'K10 privileges kept: the self-audit refuses; without it, A2 turns red',
    { timeout: CONTROL_MS },
    async () => {
      const a2 = scenario(named(processes, 'A2'));
      await expect(gotFrom(await imageWithout('PRIVILEGE_DROP'), a2)).rejects.toThrow(/audit: capabilities/);
      const got = await gotFrom(await imageWithout('PRIVILEGE_DROP', 'AUDIT'), a2);
      expect(got).toContain('CapEff');
    },
  );

  test(
    'K10b outside of a sandbox: as root of a plain user namespace, the attacks of A5 and B4 succeed',
    { timeout: CONTROL_MS },
    async ({ skip }) => {
      const attack = join(await buildAttacks(), 'attack');
      const plain = ['--user', '--map-root-user', '--mount', '--cgroup'];
      const allowed = await run('unshare', [...plain, '/bin/true']).then(
        () => true,
        () => false,
      );
      if (!allowed) skip('the kernel lacks unprivileged user namespaces for programs without a profile');
      const place = await mkdtemp(join(tmpdir(), 'offshoot-place-'));
      const succeeded = async (id: string): Promise<string[]> => {
        const { stdout } = await run('unshare', [...plain, attack, id, place], {
          maxBuffer: 16 * 1024 * 1024,
        });
        const told = stdout
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line) as Attempt);
        return told.filter((attempt) => attempt.succeeded).map(({ call }) => call);
      };
      expect(await succeeded('A5')).toEqual(
        expect.arrayContaining(['unshare(user)', 'clone(user)', 'clone3(user)', 'unshare(net)']),
      );
      const mounted = await succeeded('B4');
      await rm(place, { recursive: true });
      expect(mounted).toEqual(expect.arrayContaining(['mount tmpfs', 'bind /', 'fsopen']));
    },
  );

  test('K11 devices of the host: V1 turns red', { timeout: CONTROL_MS }, async () => {
    const open = (): Promise<AttackBench> => AttackBench.open({ canaries, devices: '/nowhere' });
    const [one, other] = [await open(), await open()];
    try {
      const got = await locksSeen(one, other);
      expect(got).toEqual(expect.arrayContaining(['flock /dev/null is seen', 'F_GETLK /dev/full is seen']));
      expect(got).toContain('/dev/zero of the host is locked');
    } finally {
      await one.close();
      await other.close();
    }
  });

  test('K0 no switch: every layer has a control', async () => {
    const header = await readFile(join(native, 'sandbox/layers.h'), 'utf8');
    const layers = [...header.matchAll(/^#ifdef WITHOUT_(\w+)$/gm)].map(([, layer]) => layer);
    expect(layers).toEqual(NATIVE_LAYERS);
  });

  test.each(NATIVE_LAYERS)('K0 no switch: the product’s build refuses to leave %s out', async (layer) => {
    const make = (args: string[], env: Readonly<Record<string, string>> = {}): Promise<unknown> =>
      run('make', ['-n', '-C', native, ...args], { env: { PATH: process.env['PATH'] ?? '', ...env } });
    await expect(make([`WITHOUT=${layer}`])).rejects.toThrow(/directory of its own/);
    await expect(make([], { WITHOUT: layer })).rejects.toThrow(/directory of its own/);
    // Past the Makefile there is the static assertion.
    const compile = (...flags: string[]): Promise<unknown> =>
      run('cc', ['-fsyntax-only', ...flags, '-x', 'c', join(native, 'sandbox/layers.h')]);
    await expect(compile(`-DWITHOUT_${layer}`)).rejects.toThrow(/static assertion failed/);
    await compile();
  });
});
