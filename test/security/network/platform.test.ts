/** Egress of a deployed function, on a network with an address of its own, and its traces in the record. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Runtime } from '#contract/functions/manifest.ts';
import { CAN_OWN_NETWORK } from '../../support/network/own-network.ts';
import { Platform } from '../../support/platform/platform.ts';

const SOURCE = `export default { async fetch(request) {
  const to = new URL(request.url).searchParams.get('to');
  try { return new Response(await (await fetch(to)).text()); }
  catch (error) { return new Response('refused: ' + (error.cause?.code ?? error.message)); }
} };`;

// The host's own address stands for "some address that a rule names".
describe.skipIf(!CAN_OWN_NETWORK)('egress of a deployed function (needs user namespaces)', () => {
  let platform: Platform;
  let own = '';
  let port = 0;

  const deploy = async (
    name: string,
    egress: readonly string[],
    runtime: Runtime = 'node26',
  ): Promise<string> => {
    const folder = join(platform.state, 'projects', name);
    await mkdir(join(folder, 'src'), { recursive: true });
    await writeFile(join(folder, 'src/index.ts'), SOURCE);
    await writeFile(
      join(folder, 'offshoot.json'),
      JSON.stringify({ name, runtime, access: 'public', network: { egress } }),
    );
    const { code, stdout, stderr } = await platform.cli('deploy', folder, '--json');
    return code === 0 ? 'deployed' : stdout + stderr;
  };
  const ask = (name: string, to: string): Promise<Response> =>
    platform.call(`${name}/?to=${encodeURIComponent(to)}`);

  beforeAll(async () => {
    platform = await Platform.start({}, [], { ownNetwork: true });
    ({ address: own, port } = platform.host);
    expect(await deploy('named', [`${own}:${port}`])).toBe('deployed');
    expect(await deploy('named-24', [`${own}:${port}`], 'node24')).toBe('deployed');
    expect(await deploy('everything', ['0.0.0.0/0:1-65535'])).toBe('deployed');
  }, 60_000);
  afterAll(async () => {
    await platform.stop();
  });

  test.each(['named', 'named-24'])(
    'N20 an address of the host is reached when a rule names it (%s)',
    async (name) => {
      const response = await ask(name, `http://${own}:${port}/`);
      expect(await response.text()).toBe('the host');
      expect((await platform.record(response)).report?.denied).toBeUndefined();
    },
  );

  test('N21 the host, its loopback and the gateway are not reached when no rule names them', async () => {
    const gateway = new URL(platform.url).port;
    for (const to of [
      `${own}:${port}`,
      `${own}:${gateway}`,
      `127.0.0.1:${gateway}`,
      `198.19.254.2:${gateway}`,
    ]) {
      const response = await ask('everything', `http://${to}/`);
      expect(await response.text(), to).toBe('refused: ECONNREFUSED');
    }
  });

  test('N22 a refused attempt is in the record and in the trace of the invocation that made it', async () => {
    const response = await ask('named', 'http://169.254.169.254/latest/meta-data/');
    expect(await response.text()).toBe('refused: ECONNREFUSED');
    const record = await platform.record(response);
    expect(record.report?.denied).toEqual([{ to: 'tcp 169.254.169.254:80', count: 1 }]);
    const run = record.spans.find(({ name }) => name === 'run');
    expect(run?.attributes['offshoot.network.denied']).toBe('tcp 169.254.169.254:80 (1)');
    const { stdout } = await platform.cli('trace', record.id);
    expect(stdout).toContain('tcp 169.254.169.254:80');

    const other = await ask('named', 'http://secret.evil.test/');
    expect(await other.text()).toBe('refused: ENOTFOUND');
    const { report } = await platform.record(other);
    expect(report?.denied?.map(({ to }) => to)).toEqual(['dns secret.evil.test']);
  });

  test('N26 nothing of the network outlives a worker that is killed', async () => {
    const uplinks = (): number[] => processesNamed('slirp4netns', platform.pid('worker'));
    const running = uplinks();
    expect(running.length).toBeGreaterThan(0);
    await platform.kill('worker');
    for (const end = Date.now() + 5_000; running.some(isAlive) && Date.now() < end;) await sleep(20);
    expect(running.filter(isAlive)).toEqual([]);
    platform.run('worker');
    await platform.ready();
    expect(await (await ask('named', `http://${own}:${port}/`)).text()).toBe('the host');
  });

  test('N23 an invalid rule fails the deploy with the field and the reason', async () => {
    expect(await deploy('wrong', ['1.2.3.4:80', 'example.com'])).toMatch(/network\.egress\.1: .*has no port/);
  });
});

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

/** Children of a process by the name of their program. */
function processesNamed(name: string, parent: number): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        // pid (name, cut at 15 bytes) state parent
        return (
          stat.includes(`(${name})`) && Number(stat.slice(stat.lastIndexOf(')')).split(' ')[2]) === parent
        );
      } catch {
        return false;
      }
    });
}
