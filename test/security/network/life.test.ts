/** The life of functions' networks: prepared pairs, bounds and remains, in a world of the test's own. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { VersionSettings } from '#contract/functions/settings.ts';
import type { Counts, Inspection } from '../../../worker/network/egress.ts';
import { MAX_CONNECTIONS } from '../../../worker/network/ruleset.ts';
import { Stopwatch } from '../../support/platform/stopwatch.ts';
import {
  ask,
  denied,
  type EgressBench,
  egressForTests,
  HOLDING_PORT,
  METADATA,
  PORT,
  PRIVATE,
  PUBLIC,
  PUBLIC_DECOY,
  tcp,
} from './egress-bench.ts';

describe('the network of functions', () => {
  let egress: EgressBench;
  let start: EgressBench['start'];

  egressForTests((bench) => {
    egress = bench;
    ({ start } = bench);
  });

  test('N17 sandboxes one after another leave no rule, no pair and no descriptor behind [NE6]', async () => {
    const network = await egress.networks.inspect(egress.bench.zygote);
    egress.world.names.set('leaves.example', [[PUBLIC_DECOY]]);
    const before = await settled(network);
    for (let round = 0; round < 5; round++) {
      // Another function each time, so that its rules go too.
      const sandbox = await start([`${PUBLIC}:${PORT}`, `leaves.example:${1000 + round}`]);
      expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
      expect(await tcp(sandbox, 'leaves.example')).toBe('ECONNREFUSED');
      await sandbox.end();
      egress.started.splice(egress.started.indexOf(sandbox), 1);
    }
    expect(await settled(network)).toEqual(before);
  });

  test('N19 when slirp4netns dies, another one takes its place under the same rules', async () => {
    const sandbox = await start([`${PUBLIC}:${PORT}`]);
    expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    const network = await egress.networks.inspect(egress.bench.zygote);
    const died = network.uplinkPid ?? 0;
    process.kill(died, 'SIGKILL');
    let answer = '';
    for (const end = Date.now() + 10_000; answer !== `tcp ${PUBLIC}` && Date.now() < end; await sleep(100))
      answer = await tcp(sandbox, PUBLIC);
    expect(answer).toBe(`tcp ${PUBLIC}`);
    expect(network.uplinkPid).not.toBe(died);
    expect(await tcp(sandbox, PRIVATE)).toBe('ECONNREFUSED');
  });

  test('N28 the processes that read tenants’ packets outside have no capability, no id of the platform, and a filter', async () => {
    const pid = (await egress.networks.inspect(egress.bench.zygote)).uplinkPid ?? 0;
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) expect(field(set), set).toMatch(/^0+(400)?$/);
    for (const id of field('Uid').split('\t')) expect(Number(id)).toBeGreaterThan(process.getuid?.() ?? 0);
    expect(field('Seccomp')).toBe('2');
  });

  test('N24 pairs are prepared ahead, and a prepared sandbox joins one as a cold one does', async () => {
    const network = await egress.networks.inspect(egress.bench.zygote);
    await settled(network);
    const settings = VersionSettings.parse({ network: { egress: [`${PUBLIC}:${PORT}`] } });
    const { ready: before } = await network.counts();
    const assigned = await egress.networks.assign(egress.bench.zygote, {
      key: 'test/prepared@1',
      namespace: 'test',
      settings,
    });
    expect(before).toBe(2);
    const sandbox = await egress.bench.start(egress.code, true, { network: assigned });
    egress.started.push(sandbox);
    expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, PRIVATE)).toBe('ECONNREFUSED');
    expect((await settled(network)).ready).toBe(2);
  });

  test('N25 a sandbox that tries very many destinations is refused them all, and fills no table', async () => {
    const sandbox = await start([`${PUBLIC}:${PORT}`]);
    expect(await ask(sandbox, `/scan?host=${PRIVATE}`)).toEqual({ ECONNREFUSED: 300 });
    expect((await denied(sandbox)).length).toBe(64);
    await tcp(sandbox, METADATA, 80);
    expect(await denied(sandbox)).toEqual([{ to: `tcp ${METADATA}:80`, count: 1 }]);
  });

  test('N29 a sandbox that floods the resolver does not keep others from their names', async () => {
    for (let index = 0; index < 400; index++)
      egress.world.names.set(`n${index}.flood.example`, [[`203.0.113.${index % 250}`]]);
    egress.world.names.set('quiet.example', [[PUBLIC]]);
    const flooding = await start([`*.flood.example:${PORT}`]);
    const quiet = await start([`quiet.example:${PORT}`]);
    const flood = ask(flooding, '/flood?host=flood.example');
    const askedAt = Stopwatch.start();
    expect(await tcp(quiet, 'quiet.example')).toBe(`tcp ${PUBLIC}`);
    // Far below the time after which a question is asked again.
    expect(askedAt.stop()).toBeLessThan(4_000);
    expect(await flood).toMatch(/^answered \d+$/);
    expect(await tcp(flooding, PRIVATE)).toBe('ECONNREFUSED');
  });

  test('N30 a sandbox holds a bounded number of connections, and has room again once it has closed them [NE7]', async () => {
    const sandbox = await start([`${PUBLIC}:${HOLDING_PORT}`]);
    const path = `/hold?host=${PUBLIC}&port=${HOLDING_PORT}&count=`;
    const results = await ask<Record<string, number>>(sandbox, `${path}${MAX_CONNECTIONS + 50}`);
    expect(results).toEqual({ held: MAX_CONNECTIONS, ECONNREFUSED: 50 });
    await expect.poll(() => ask(sandbox, `${path}20`), { timeout: 10_000 }).toEqual({ held: 20 });
    // Other sandboxes still connect.
    const other = await start([`${PUBLIC}:${PORT}`]);
    expect(await tcp(other, PUBLIC)).toBe(`tcp ${PUBLIC}`);
  });

  test('N31 socket buffers are as small with egress as without', async () => {
    const settings = VersionSettings.parse({ network: { egress: [`${PUBLIC}:${PORT}`] } });
    const version = { key: 'test/buffers@1', namespace: 'test', settings };
    const network = (await egress.networks.assign(egress.bench.zygote, version)) ?? expect.fail();
    const namespace = openSync(`/proc/self/fd/${network.namespace}`, 'r');
    try {
      const buffers = (): Promise<string> =>
        egress.world.owner.run(['sysctl', '-n', 'net.ipv4.tcp_rmem'], { network: namespace });
      const usual = await buffers();
      egress.started.push(await egress.bench.start(egress.code, false, { network }));
      expect(await buffers()).not.toBe(usual);
      expect((await buffers()).trim().split(/\s+/)).toEqual(['4096', '8192', '2097152']);
    } finally {
      closeSync(namespace);
    }
  });

  test('N32 when more sandboxes start than pairs are ready, each gets its own, with the rules of its own function', async () => {
    const both = [PUBLIC, PUBLIC_DECOY];
    const wanted = Array.from({ length: 12 }, (_, index) => both[index % 2] ?? PUBLIC);
    const sandboxes = await Promise.all(wanted.map((address) => start([`${address}:${PORT}`])));
    await Promise.all(
      sandboxes.map(async (sandbox, index) => {
        for (const address of both)
          expect(await tcp(sandbox, address)).toBe(
            address === wanted[index] ? `tcp ${address}` : 'ECONNREFUSED',
          );
      }),
    );
    const ends = await Promise.all(sandboxes.map((sandbox) => ask<{ routes: string }>(sandbox, '/own')));
    expect(new Set(ends.map(({ routes }) => routes)).size).toBe(12);
  });
});

/** Counts the parts of a launcher's egress, once the spare pairs are complete and ended sandboxes are cleaned up. */
async function settled(network: Inspection): Promise<Counts> {
  let counts = await network.counts();
  for (let last = ''; last !== JSON.stringify(counts); counts = await network.counts()) {
    last = JSON.stringify(counts);
    await sleep(300);
  }
  return counts;
}
