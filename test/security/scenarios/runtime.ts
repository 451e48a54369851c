/** F: the runtime, and everything that a sandbox inherited from its zygote. */
import { mkdtemp, rm } from 'node:fs/promises';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BASE_ENVIRONMENT } from '#contract/functions/start-variables.ts';
import { ChannelKind } from '#contract/wire/channel.ts';
import { encodePayload } from '#contract/wire/payload.ts';
import { ownRanges } from '../../../worker/sandbox/zygote/subids.ts';
import { Zygotes } from '../../../worker/pool/zygotes.ts';
import { distinctValues, RANDOM_SOURCES } from '../../support/sandbox/random-sources.ts';
import { AttackBench, type Attempt, descendants, notRefused, valueOf, valuesOf } from '../attack-bench.ts';
import type { Scenario } from './scenario.ts';
import { judgeDenyTable } from './calls.ts';

/** Targets of an event loop's descriptors; pipes are judged by their owner. */
const EVENT_LOOP = /^(anon_inode:\[event(poll|fd)\]|pipe:\[\d+\])$/;
const FORKS = 1_000;
const FIRST_UUIDS = 200;
/** Time in milliseconds after which a silent sandbox is killed, as the worker does at the deadline. */
const DEADLINE_MS = 8_000;

/** Processes that the launchers of this test have started: the zygotes. */
function zygotePids(): number[] {
  const all = descendants(process.pid);
  const launchers = new Set(all.filter(({ name }) => name === 'launcher').map(({ pid }) => pid));
  return all.filter(({ name, parent }) => name !== 'launcher' && launchers.has(parent)).map(({ pid }) => pid);
}

/** Ends all zygotes but these. */
function killZygotesBut(others: readonly number[]): void {
  for (const pid of zygotePids().filter((one) => !others.includes(one))) process.kill(pid, 'SIGKILL');
}

/** Pipes and sockets that a process of the host holds, by their number in the kernel. */
function pipesOf(pid: number): Set<string> {
  const names = readdirSync(`/proc/${pid}/fd`);
  return new Set(
    names.map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)).filter((name) => /^(pipe|socket):/.test(name)),
  );
}

function fdinfoOf(pid: number): string {
  return readdirSync(`/proc/${pid}/fdinfo`)
    .map((fd) => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))
    .join('');
}

/** A promise's value, or its error, or that it took too long. */
async function outcomeOf(promise: Promise<string>): Promise<string> {
  const text = promise.catch((error: unknown) => `failed: ${String(error)}`);
  return await Promise.race([text, sleep(DEADLINE_MS, 'deadline')]);
}

async function aFreshOneWorks(bench: AttackBench): Promise<string[]> {
  if (!bench.bench.zygote.alive) return ['the zygote has ended'];
  const text = await bench.with((attacker) => outcomeOf(attacker.text('slow', 'well')));
  return text === 'well' ? [] : [`a fresh sandbox: ${text}`];
}

export const runtime: Readonly<Record<string, Scenario>> = {
  F1: {
    title:
      'fd-allowlist: no descriptor and no memory is shared with others; marks and poison in all of them reach no other process',
    async run(bench) {
      const [one, other] = await Promise.all([bench.attacker(), bench.attacker()]);
      const got: string[] = [];
      const [first, again, sibling] = [await one.js('F1'), await one.addon('F1'), await other.js('F1')];
      for (const own of [first, again]) {
        const above = own.filter(({ call }) => Number(call.slice(3)) > 2);
        const sockets = above.filter(({ value }) => value?.startsWith('socket:'));
        if (sockets.length !== 1) got.push(`${sockets.length} sockets`);
        const rest = above.filter((entry) => !sockets.includes(entry) && !EVENT_LOOP.test(entry.value ?? ''));
        got.push(...rest.map(({ call, value }) => `${call}: ${value}`));
      }
      const child = await one.native('F1');
      got.push(
        ...child
          .filter(({ call }) => Number(call.slice(3)) > 2)
          .map(({ call, value }) => `child ${call}: ${value}`),
      );
      if (child.length !== 3) got.push(`a child has ${child.length} descriptors`);

      const zygote = zygotePids().at(-1) ?? 0;
      const theirs = new Set([...pipesOf(zygote), ...sibling.map(({ value }) => value ?? '')]);
      const shared = first.filter(
        ({ value }) => /^(pipe|socket):/.test(value ?? '') && theirs.has(value ?? ''),
      );
      got.push(...shared.map(({ call, value }) => `${call} is shared: ${value}`));

      const maps = await one.addon('F1-maps');
      if (Number(valueOf(maps, 'mappings')) < 10) got.push('its mappings could not be read');
      // The count of calls handed ahead to this sandbox is on the only page that it shares with its worker.
      const pages = valuesOf(maps, 'shared mapping');
      const turns = pages.filter((line) => line.includes('/memfd:turns'));
      if (turns.length !== 1) got.push(`${turns.length} pages of turns`);
      got.push(...pages.filter((line) => !turns.includes(line)).map((line) => `shared memory: ${line}`));

      // Event descriptors have no number to compare: marks in ours must not show in the zygote's.
      const marked = await one.addon('F1-mark', '900', '7');
      if (marked.length < 2) got.push('nothing could be marked');
      if (/^tfd:\s+900 /m.test(fdinfoOf(zygote))) got.push('the zygote watches a descriptor of a sandbox');
      if (/^eventfd-count:\s+[^0\s]/m.test(fdinfoOf(zygote)))
        got.push('an event of the zygote was counted up');

      // At most, the sandbox harms itself.
      const poisoned = await one.js('F1poison').catch((): Attempt[] => []);
      if (poisoned.length > 0 && !poisoned.some(({ succeeded }) => succeeded))
        got.push('nothing could be poisoned');
      await sleep(300);
      if (other.sandbox.sandbox.exit) got.push('a sibling has ended');
      return [...got, ...(await aFreshOneWorks(bench))];
    },
  },
  F2: {
    title: 'env-clean: environment, arguments and /proc show the function’s own values, and nothing else',
    async run(bench) {
      const given = { GIVEN: 'value' };
      const env = { ...BASE_ENVIRONMENT, ...given };
      const lines = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      const [js, native] = await bench.with(
        async (attacker) => [await attacker.js('F2'), await attacker.native('F2')] as const,
        { env: given },
      );
      const expected: [readonly Attempt[], string, string][] = [
        [js, 'process.env', JSON.stringify(env)],
        [js, 'process.argv', '["/usr/bin/node","/var/task/index.mjs"]'],
        [js, 'process.execArgv', '[]'],
        [js, 'env of a child', `${lines.join('\n')}\n`],
        [native, 'environ', lines.join()],
      ];
      const wrong = expected.filter(([told, call, value]) => valuesOf(told, call).join() !== value);
      return [
        ...wrong.map(([told, call]) => `${call}: ${valuesOf(told, call).join()}`),
        ...notRefused(js, 'EACCES'),
      ];
    },
  },
  F3: {
    title:
      'memory-canary: no readable memory holds a secret of the worker, of another function or of the host',
    timeoutMs: 120_000,
    async run(bench) {
      const secret = bench.canaries.token('environment of another function');
      const other = await bench.attacker({ env: { SECRET: secret } });
      await other.js('F5');
      const inverted = (text: string): string =>
        Buffer.from(Buffer.from(text).map((byte) => ~byte & 0xff)).toString('hex');
      const own = `own-${bench.canaries.prefix.slice(10, 30)}`;
      return await bench.with(
        async (attacker) => {
          const got: string[] = [];
          const scan = await attacker.addon('F3', inverted(bench.canaries.prefix));
          if (Number(valueOf(scan, 'scanned')) < 16 * 1024 * 1024) got.push('hardly any memory was read');
          if (valueOf(scan, 'found') !== '0') got.push(`${valueOf(scan, 'found')} canaries in memory`);
          const reversed = bench.canaries.prefix.split('').toReversed().join('');
          const heap = await attacker.js('F3', reversed);
          if (valueOf(heap, 'in the heap') !== '0') got.push('canaries in the heap');
          // Control: the search finds a value of the function's own.
          const control = await attacker.addon('F3', inverted(own));
          if (Number(valueOf(control, 'found')) === 0) got.push('the search does not even find its own');
          return [...got, ...notRefused(heap, 'EACCES')];
        },
        { env: { OWN: own } },
      );
    },
  },
  F4: {
    title: `rng-unique: ${FORKS} forks, ${RANDOM_SOURCES} sources of randomness, no value twice`,
    timeoutMs: 180_000,
    run: async (bench) => repeatedValues(bench, FORKS),
  },
  F5: {
    title: `uuid-batch: the first ${FIRST_UUIDS} crypto.randomUUID of siblings are disjoint`,
    async run(bench) {
      const seen = new Set<string>();
      let drawn = 0;
      for (let round = 0; round < 10; round++) {
        const told = await bench.with((attacker) => attacker.js('F5'));
        for (const uuid of valueOf(told, 'uuids').split(' ')) seen.add(uuid);
        drawn += FIRST_UUIDS;
      }
      return seen.size === drawn ? [] : [`${drawn - seen.size} of ${drawn} were drawn before`];
    },
  },
  F6: {
    title: 'hash-seed: two tenants have different hash seeds',
    async run(bench) {
      const hashes = async (of: AttackBench): Promise<string> =>
        valueOf(await of.with((attacker) => attacker.addon('hash', 'a name of a property')), 'hash');
      const tenant = await AttackBench.open({ canaries: bench.canaries });
      try {
        const [one, again, other] = [await hashes(bench), await hashes(bench), await hashes(tenant)];
        // Control: forks of one zygote share it, which shows that the test sees the seed.
        if (one === '' || one !== again) return ['the hash does not show the seed'];
        return one === other ? ['two tenants have the same hash seed'] : [];
      } finally {
        await tenant.close();
      }
    },
  },
  F7: {
    title: 'code-isolation: polluted globals, prototypes and module caches are not there in the next sandbox',
    async run(bench) {
      const mark = 'pollutedByF7';
      const first = await bench.attacker();
      await first.js('F7pollute', mark);
      const own = await first.js('F7look', mark);
      const got = valuesOf(own, 'seen').length < 5 ? ['the attack does not see its own pollution'] : [];
      // While the first sandbox lives, and after it.
      got.push(...valuesOf(await bench.with((attacker) => attacker.js('F7look', mark)), 'seen'));
      await first.end();
      return [...got, ...valuesOf(await bench.with((attacker) => attacker.js('F7look', mark)), 'seen')];
    },
  },
  F8: {
    title:
      'global-pollution: overridden built-ins give a right result or a clean error, and harm no other sandbox',
    timeoutMs: 180_000,
    async run(bench) {
      const names = await bench.with((attacker) => attacker.js('F8names'));
      const got = names.length < 10 ? ['hardly any pollution'] : [];
      for (const { value = '' } of names) {
        const attacker = await bench.attacker();
        const outcome = await outcomeOf(attacker.text('F8', value));
        if (outcome !== 'polluted' && outcome !== 'deadline' && !outcome.startsWith('failed:'))
          got.push(`${value}: ${outcome}`);
        await attacker.end();
      }
      return [...got, ...(await aFreshOneWorks(bench))];
    },
  },
  F9: {
    title: 'native-addon: an addon in the function’s own process is refused the same system calls',
    run: (bench) =>
      bench.with(async (attacker) => [
        ...judgeDenyTable(await attacker.addon('C1')),
        ...notRefused(await attacker.addon('A6'), 'EPERM', 'EACCES', 'ENOENT'),
        ...notRefused(await attacker.addon('B4'), 'EPERM'),
      ]),
  },
  F10: {
    title: 'crash: abort, SIGSEGV, exit, rejection, late throw and stack overflow each have their own end',
    async run(bench) {
      const expected: [string, RegExp][] = [
        ['abort', /signal":"SIG/],
        ['exit', /"code":0/],
        ['rejection', /unhandled on purpose/],
        ['throw', /late on purpose/],
        ['overflow', /RangeError/],
      ];
      const got: string[] = [];
      for (const [how, wanted] of expected) {
        const attacker = await bench.attacker();
        const outcome = await outcomeOf(attacker.text('F10', how));
        if (!wanted.test(outcome)) got.push(`${how}: ${outcome}`);
        await attacker.end();
      }
      const crashed = await bench.with((attacker) => outcomeOf(attacker.addon('crash').then(String)));
      if (!/signal":"SIGSEGV/.test(crashed)) got.push(`crash: ${crashed}`);
      return [...got, ...(await aFreshOneWorks(bench))];
    },
  },
  F11: {
    title: 'zygote-kill: running calls fail cleanly, and another zygote serves in about a second',
    async run(bench) {
      const got: string[] = [];
      const others = zygotePids();
      const tenant = await AttackBench.open({ canaries: bench.canaries });
      const attacker = await tenant.attacker();
      const running = outcomeOf(attacker.text('slow', 'never'));
      await sleep(100);
      killZygotesBut(others);
      const outcome = await running;
      if (!outcome.includes('"zygoteLost":true')) got.push(`a running call: ${outcome}`);
      await tenant.close();

      const codeDirectory = await mkdtemp(join(tmpdir(), 'offshoot-zygotes-'));
      const imagesDirectory = join(process.env['OFFSHOOT_STATE'] ?? '', 'images');
      const never = 1_000_000_000;
      const rotation = { forks: never, ageMs: never, crashes: never, crashWindowMs: 1, minAgeMs: never };
      const zygotes = new Zygotes({ imagesDirectory, codeDirectory, ...ownRanges(), rotation });
      const started = performance.now();
      const first = await zygotes.get('node26', 'test');
      const start = performance.now() - started;
      killZygotesBut(others);
      const killed = performance.now();
      await first.ended;
      const second = await zygotes.get('node26', 'test');
      const took = performance.now() - killed;
      if (!second.alive || second === first) got.push('no other zygote');
      // On a busy machine, the start of a runtime alone may take longer than a second.
      if (took > Math.max(1_000, 3 * start)) got.push(`it took ${Math.round(took)} ms`);
      await zygotes.stop();
      await rm(codeDirectory, { recursive: true, force: true });
      return [...got, ...(await aFreshOneWorks(bench))];
    },
  },
  F12: {
    title: 'result-forgery: forged, broken and oversized frames touch no call but their own sandbox’s',
    timeoutMs: 120_000,
    async run(bench) {
      const forged = encodePayload({ status: 200, headers: [] }, Buffer.from('forged')).toString('base64');
      const frames: [kind: number, handle: number, declared: string, payload: string, times?: string][] = [
        ...[0, 1, 2, 3, 99].map((handle): [number, number, string, string] => [
          ChannelKind.RESULT,
          handle,
          '',
          forged,
        ]),
        [ChannelKind.END, 1, '', ''],
        [ChannelKind.FAILED, 1, '', Buffer.from('{"outcome":"ok"').toString('base64')],
        [ChannelKind.SETTLED, 1, '', ''],
        [ChannelKind.READY, 0, '', ''],
        [ChannelKind.ISOLATED, 0, '', 'AAAA'],
        [ChannelKind.SETUP_FAILED, 0, '', forged],
        [ChannelKind.INVOKE, 1, '', forged],
        [ChannelKind.LOG, 1, '', 'AQ==', '20000'],
        [255, 1, '', forged],
        [ChannelKind.RESULT, 1, '0', forged],
        [ChannelKind.RESULT, 1, '4294967295', forged],
        [ChannelKind.RESULT, 1, '1048576', forged, '100'],
      ];
      const got: string[] = [];
      const victim = await bench.attacker();
      const before = process.memoryUsage().rss;
      for (const [kind, handle, declared, payload, times = '1'] of frames) {
        const attacker = await bench.attacker();
        const theirs = outcomeOf(victim.text('slow', 'mine'));
        await outcomeOf(attacker.text('F12', String(kind), String(handle), declared, payload, times));
        const answer = await theirs;
        if (answer !== 'mine')
          got.push(`kind ${kind}, handle ${handle}, length ${declared}: the victim got ${answer}`);
        await attacker.end();
      }
      const grown = (process.memoryUsage().rss - before) / 1024 / 1024;
      if (grown > 256) got.push(`the worker has grown by ${Math.round(grown)} MB`);
      return [...got, ...(await aFreshOneWorks(bench))];
    },
  },
};

/** Sources that gave some value twice. */
export async function repeatedValues(bench: AttackBench, forks: number): Promise<string[]> {
  const distinct = await distinctValues(bench.bench, forks);
  const repeated = [...distinct].filter(([, values]) => values !== forks);
  const got = repeated.map(([name, values]) => `${name}: ${values} values in ${forks} forks`);
  return distinct.size === RANDOM_SOURCES ? got : [...got, `only ${distinct.size} sources`];
}
