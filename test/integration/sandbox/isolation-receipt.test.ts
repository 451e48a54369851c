/** The isolation receipt of an invocation, compared with what sandbox and kernel report. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FunctionDetail, InvocationDetail } from '#contract/api/api.ts';
import { LINUX_NAMESPACES } from '#contract/functions/isolation.ts';
import { keys } from '#contract/platform/keys.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { detectCgroups } from '../../../worker/cgroup/detect.ts';
import { sandboxCgroups } from '../../support/sandbox/cgroup-paths.ts';
import { Platform } from '../../support/platform/platform.ts';

const MB = 1024 * 1024;
const cgroupVersion = detectCgroups().version;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('faulty', { name: 'measured', memory: 96, cpu: 0.5, pids: 40 });
}, 180_000);
afterAll(() => platform.stop());

async function called(path: string): Promise<{ record: InvocationDetail; answer: unknown }> {
  const response = await platform.call(path);
  const answer: unknown = await response.json();
  return { record: await platform.record(response), answer };
}

/** The value of a file of a sandbox's cgroup; on version 1, in the hierarchy of a controller. */
function cgroupFile(controller: string, file: string, sandbox: string): string {
  const root = cgroupVersion === 1 ? sandboxCgroups().replace('/pids/', `/${controller}/`) : sandboxCgroups();
  return readFileSync(join(root, `${platform.pid('worker')}-${sandbox}`, file), 'utf8').trim();
}

async function connected(): Promise<Redis> {
  const nothing = (): void => undefined;
  const redis = connectRedis(platform.redis.url, 'commands', {
    info: nothing,
    warn: nothing,
    error: nothing,
  });
  await once(redis, 'ready');
  return redis;
}

describe('the isolation receipt', () => {
  test('the receipt names the namespaces and the id that the sandbox sees [PR1]', async () => {
    const { record, answer } = await called('measured/isolation');
    const own = answer as { namespaces: Record<string, number>; uidMap: number[] };
    const { isolation } = record;
    for (const name of LINUX_NAMESPACES) {
      expect(isolation?.namespaces[name], name).toBe(own.namespaces[name]);
      expect(readlinkSync(`/proc/self/ns/${name}`), name).not.toContain(String(isolation?.namespaces[name]));
    }
    expect(isolation?.uid.inside).toBe(own.uidMap[0]);
    expect(isolation?.sandbox).toBe(record.report?.sandbox);
    expect(isolation?.worker).toBe(record.report?.worker);
  });

  test('the receipt names the id and the limits that the kernel has for the sandbox', async () => {
    const { record } = await called('measured/ok');
    const { isolation } = record;
    const sandbox = record.report?.sandbox ?? '';
    const [pid] = cgroupFile('pids', 'cgroup.procs', sandbox).split('\n');
    const uids = /^Uid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]?.split('\t');
    expect(new Set(uids)).toEqual(new Set([String(isolation?.uid.host)]));
    expect(isolation?.cgroup).toMatchObject({
      version: cgroupVersion,
      memoryBytes: 96 * MB,
      cpu: 0.5,
      pids: 40,
    });
    expect(cgroupFile('pids', 'pids.max', sandbox)).toBe('40');
    if (cgroupVersion === 1) {
      expect(cgroupFile('memory', 'memory.limit_in_bytes', sandbox)).toBe(String(96 * MB));
      expect(cgroupFile('cpu', 'cpu.cfs_quota_us', sandbox)).toBe('50000');
      const files = readdirSync(
        join(sandboxCgroups().replace('/pids/', '/memory/'), `${platform.pid('worker')}-${sandbox}`),
      );
      expect(isolation?.cgroup.swapLimited).toBe(files.includes('memory.memsw.limit_in_bytes'));
    } else {
      expect(cgroupFile('', 'memory.max', sandbox)).toBe(String(96 * MB));
      expect(cgroupFile('', 'cpu.max', sandbox)).toBe('50000 100000');
    }
  });

  test('the receipt names the image, the code and the filter', async () => {
    const { record } = await called('measured/ok');
    const image = JSON.parse(
      readFileSync(join(platform.state, 'images/node26/opt/offshoot/image.json'), 'utf8'),
    ) as { digest: string };
    expect(record.isolation?.image).toBe(image.digest);
    const detail = (await (await platform.api('/functions/default/measured')).json()) as FunctionDetail;
    expect(record.isolation?.code).toBe(detail.active.digest);
    expect(record.isolation?.seccomp).toMatch(/^[0-9a-f]{64}$/);
    expect(record.isolation?.network).toBe('none');
  });

  test('the receipt says whether the sandbox has network egress', async () => {
    await platform.deploy('faulty', { name: 'connected', network: { egress: ['192.0.2.1:80'] } });
    const { record } = await called('connected/ok');
    expect(record.isolation?.network).toBe('egress');
  });

  test('the receipt is stored once for each sandbox, whatever it serves, and outlives the records [PR1]', async () => {
    const redis = await connected();
    const count = async (): Promise<number> => (await redis.keys('offshoot:isolation:*')).length;
    const { record: first } = await called('measured/ok');
    const before = await count();
    const { record: second } = await called('measured/ok');
    expect(second.isolation).toEqual(first.isolation);
    expect(await count()).toBe(before);
    const { record: exited } = await called('measured/exit?code=3');
    expect(exited.isolation?.sandbox).toBe(first.report?.sandbox);
    const { record: other } = await called('measured/ok');
    expect(other.isolation?.namespaces).not.toEqual(first.isolation?.namespaces);
    expect(await count()).toBe(before + 1);
    const key = keys.isolation(other.report?.worker ?? '', other.report?.sandbox ?? '');
    expect(await redis.ttl(key)).toBeGreaterThan(await redis.ttl(keys.invocation(other.id)));
    redis.disconnect();
  });

  test('offshoot trace shows the receipt, in a line or as a whole', async () => {
    const { record } = await called('measured/ok');
    const short = await platform.cli('trace', record.id);
    expect(short.stdout).toMatch(/isolation +7 namespaces, uid \d+, cgroup v[12], seccomp/);
    const whole = await platform.cli('trace', record.id, '--isolation');
    expect(whole.stdout).toContain(`net:${record.isolation?.namespaces.net}`);
    expect(whole.stdout).toContain(record.isolation?.code);
    const json = await platform.cli('trace', record.id, '--json');
    expect((JSON.parse(json.stdout) as InvocationDetail).isolation).toEqual(record.isolation);
  });
});

describe('isolation.require', () => {
  test('a function runs where the host meets all of its isolation.require', async () => {
    await platform.deploy('faulty', {
      name: 'asking',
      isolation: { require: ['seccomp', 'memory-limit', 'cpu-limit', 'pids-limit'] },
    });
    const { record, answer } = await called('asking/ok');
    expect(record.outcome).toBe('ok');
    expect(answer).toEqual({ ok: true });
    const { stdout } = await platform.cli('describe', 'asking');
    expect(stdout).toContain('seccomp, memory-limit, cpu-limit, pids-limit');
  });

  test('a deploy is refused where the host lacks a requirement, which the error names [PR2]', async (context) => {
    // A host that meets every requirement cannot show a refusal.
    context.skip(cgroupVersion === 2, 'the kernel lacks a cgroup v1 hierarchy for memory');
    await platform.deploy('faulty', { name: 'refused' });
    const refused = platform.deploy('faulty', {
      name: 'refused',
      isolation: { require: ['seccomp', 'cgroup-v2'] },
    });
    await expect(refused).rejects.toThrow(/does not give: cgroup-v2/);
    await expect(refused).rejects.toThrow(/isolation\.require/);
    // The version before still serves.
    expect((await platform.call('refused/ok')).status).toBe(200);
  });

  test('requirements are checked for each sandbox, before a byte of the function runs [PR2]', async (context) => {
    // A host that meets every requirement cannot show a refusal.
    context.skip(cgroupVersion === 2, 'the kernel lacks a cgroup v1 hierarchy for memory');
    await platform.deploy('faulty', { name: 'moved', env: { PRINT_AT_LOAD: '1' } });
    // Control: a loaded module prints a line in the first invocation of its sandbox, so silence below means that none
    // was loaded.
    await platform.call('moved/exit');
    const { record: loud } = await called('moved/ok');
    expect(loud.logs.map(({ text }) => text)).toContain('the module is being loaded');
    // Writes the record as if it had been deployed on a host that meets more.
    const redis = await connected();
    const stored = JSON.parse((await redis.hget(keys.versions('default', 'moved'), '1')) ?? '') as {
      settings: object;
      version: number;
    };
    const moved = {
      ...stored,
      version: 2,
      settings: { ...stored.settings, isolation: { require: ['cgroup-v2'] } },
    };
    await redis.hset(keys.versions('default', 'moved'), '2', JSON.stringify(moved));
    redis.disconnect();
    expect(
      (await platform.api('/functions/default/moved/activate', { method: 'POST', body: '{"version":2}' }))
        .status,
    ).toBe(200);
    const response = await platform.call('moved/ok');
    expect(response.headers.get('x-offshoot-outcome')).toBe('isolation_unmet');
    expect(response.status).toBe(501);
    expect(await response.text()).toContain('cgroup-v2');
    const { report, logs } = await platform.record(response);
    expect(report?.logBytes).toBe(0);
    expect(logs).toEqual([]);
  });

  test('a deploy with an unknown requirement is refused', async () => {
    await expect(
      platform.deploy('faulty', { name: 'unknown', isolation: { require: ['selinux'] } }),
    ).rejects.toThrow(/isolation\.require/);
  });
});
