/** K8: the machine and the life of a process are those of its sandbox, and not of the host or of the zygote. */
import os from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NODE_RUNTIMES } from '../../support/runtime/node-runtimes.ts';
import { SandboxBench, type BenchSandbox } from '../../support/sandbox/sandbox-bench.ts';

const SOURCE = `
const loadedAt = performance.now();
import { execFileSync } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import { Worker } from 'node:worker_threads';
const machine = \`(() => { const os = require('node:os'); return {
  cpus: os.cpus().length, model: os.cpus()[0]?.model, parallelism: os.availableParallelism(), navigator: navigator.hardwareConcurrency,
  total: os.totalmem(), free: os.freemem(), constrained: process.constrainedMemory(), available: process.availableMemory(),
  load: os.loadavg(), uptime: os.uptime() }; })()\`;
const attempt = (act) => { try { return act(); } catch (error) { return error.code ?? error.message; } };
const sh = (text) => execFileSync('/bin/sh', ['-c', text], { encoding: 'utf8' }).trim();
const paths = {
  '/machine': () => (0, eval)('((require) => ' + machine + ')')(process.getBuiltinModule),
  '/thread': async () => (await once(new Worker('require("node:worker_threads").parentPort.postMessage(' + machine + ')', { eval: true }), 'message'))[0],
  '/child': () => JSON.parse(execFileSync('node', ['-p', 'JSON.stringify({ constrained: process.constrainedMemory(), heap: require("node:v8").getHeapStatistics().heap_size_limit })'], { encoding: 'utf8' })),
  '/files': () => Object.fromEntries(['memory.max', 'memory/memory.limit_in_bytes', 'cpu.max', 'cpu/cpu.cfs_quota_us'].map((name) => [name, fs.readFileSync('/sys/fs/cgroup/' + name, 'utf8').trim()])),
  '/write': () => [fs.existsSync('/sys/fs/cgroup/memory.max'), attempt(() => fs.writeFileSync('/sys/fs/cgroup/memory.max', '1')), attempt(() => fs.unlinkSync('/etc/hosts'))],
  '/sys': () => [fs.readdirSync('/sys'), fs.readdirSync('/sys/fs'), fs.readdirSync('/sys/fs/cgroup').toSorted()],
  '/life': () => {
    const mark = performance.mark('here').startTime, measured = performance.measure('all');
    return { loadedAt, now: performance.now(), origin: performance.timeOrigin, wall: Date.now(), uptime: process.uptime(), mark,
      toHere: performance.measure('part', 'here').startTime, end: measured.startTime + measured.duration, timing: performance.nodeTiming.duration };
  },
  '/host': async () => [os.hostname(), (await lookup(os.hostname())).address, sh('cat /etc/hosts | head -1')],
  '/devices': () => {
    fs.writeFileSync('/dev/stdout', 'to stdout\\n');
    fs.appendFileSync('/dev/stderr', 'to stderr\\n');
    fs.writeFileSync('/dev/shm/segment', 'x');
    return [attempt(() => fs.openSync('/dev/stdout', 'r')), attempt(() => fs.openSync('/proc/self/fd/1', 'r+')), fs.readdirSync('/dev/shm'), sh('echo in | cat /dev/stdin')];
  },
  '/tmp': () => { fs.writeFileSync('/tmp/program', '#!/bin/sh\\necho ran', { mode: 0o755 }); return attempt(() => execFileSync('/tmp/program', { encoding: 'utf8' }).trim()); },
};
export default { fetch: async (request) => Response.json(await paths[new URL(request.url).pathname]()) };`;

interface Machine {
  readonly [figure: string]: unknown;
}
const MB = 1024 * 1024;

for (const runtime of NODE_RUNTIMES) {
  describe(runtime, () => {
    let bench: SandboxBench;
    let code: string;
    let one: BenchSandbox;
    const ask = async (path: string, sandbox = one): Promise<unknown> =>
      JSON.parse((await sandbox.call(path)).text) as unknown;
    beforeAll(async () => {
      bench = await SandboxBench.open(runtime);
      code = await bench.addCode(SOURCE);
      one = await bench.start(code, true, { memoryMb: 256, cpu: 0.5 });
    });
    afterAll(async () => {
      await one.end();
      await bench.close();
    });

    test.each(['/machine', '/thread'])(
      `K8 B44 %s: processors and memory as the function has them on ${runtime} [MA1]`,
      async (path) => {
        const seen = (await ask(path)) as Machine;
        expect(seen).toMatchObject({
          cpus: 1,
          parallelism: 1,
          navigator: 1,
          total: 256 * MB,
          constrained: 256 * MB,
          load: [0, 0, 0],
        });
        expect(seen['free']).toBeLessThan(256 * MB);
        expect(seen['available']).toBeGreaterThan(100 * MB);
        expect(seen['uptime']).toBeLessThan(60);
        expect(seen['model']).not.toBe(os.cpus()[0]?.model);
      },
    );

    test(`K8 B44 three processors for cpu 2.5 on ${runtime}`, async () => {
      const wide = await bench.start(code, false, { cpu: 2.5 });
      try {
        expect(await ask('/machine', wide)).toMatchObject({ cpus: 3, parallelism: 3, total: 128 * MB });
      } finally {
        await wide.end();
      }
    });

    test(`K8 B44 a child process has the memory limit, and a heap within it, on ${runtime}`, async () => {
      const { constrained, heap } = (await ask('/child')) as { constrained: number; heap: number };
      expect(constrained).toBe(256 * MB);
      expect(heap).toBeLessThan(300 * MB);
    });

    test(`K8 B44 the files of a cgroup say the same, in both versions, on ${runtime} [IS14]`, async () => {
      expect(await ask('/files')).toEqual({
        'memory.max': String(256 * MB),
        'memory/memory.limit_in_bytes': String(256 * MB),
        'cpu.max': '50000 100000',
        'cpu/cpu.cfs_quota_us': '50000',
      });
    });

    test(`K8 a function changes none of the files that tell it of its machine, and they show nothing of the host, on ${runtime} [IS14]`, async () => {
      expect(await ask('/write')).toEqual([true, 'EACCES', 'EACCES']);
      expect(await ask('/sys')).toEqual([
        ['fs'],
        ['cgroup'],
        [
          'cpu',
          'cpu,cpuacct',
          'cpu.cfs_period_us',
          'cpu.cfs_quota_us',
          'cpu.max',
          'memory',
          'memory.high',
          'memory.limit_in_bytes',
          'memory.max',
          'memory.soft_limit_in_bytes',
        ],
      ]);
    });

    test(`K8 B47 the clocks of the process begin with its function on ${runtime}`, async () => {
      const life = (await ask('/life')) as Record<string, number>;
      const { loadedAt = NaN, now = NaN, wall = NaN, origin = NaN, mark = NaN } = life;
      expect(loadedAt).toBeGreaterThan(0);
      expect(loadedAt).toBeLessThan(now);
      expect(now).toBeLessThan(60_000);
      expect(Math.abs(origin + now - wall)).toBeLessThan(50);
      expect(life['uptime']).toBeCloseTo(now / 1000, 1);
      for (const time of [mark, life['toHere'], life['end'], life['timing']])
        expect(Math.abs((time ?? NaN) - now)).toBeLessThan(50);
      // Another sandbox of the same zygote is younger than that zygote.
      const later = await bench.start(code);
      try {
        expect(((await ask('/life', later)) as Record<string, number>)['loadedAt']).toBeLessThan(now + 5_000);
      } finally {
        await later.end();
      }
    });

    test(`K8 the name of the host resolves on ${runtime}`, async () => {
      expect(await ask('/host')).toEqual(['test', '127.0.0.1', '127.0.0.1 localhost test']);
    });

    test(`K8 /dev/stdout and /dev/stderr can be written to and not read, and /dev/shm is there, on ${runtime} [IS15]`, async () => {
      expect(await ask('/devices')).toEqual(['EACCES', 'EACCES', expect.arrayContaining(['segment']), 'in']);
      expect(one.said()).toContain('to stdout');
      expect(one.said()).toContain('to stderr');
    });

    test(`K8 a program in /tmp runs where the function asks for it, and not otherwise, on ${runtime} [IS16]`, async () => {
      expect(await ask('/tmp')).toBe('EACCES');
      const free = await bench.start(code, true, { tmpPrograms: true });
      try {
        expect(await ask('/tmp', free)).toBe('ran');
      } finally {
        await free.end();
      }
    });
  });
}

const PROGRAMS = `
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
const run = (text) => { const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', text], { encoding: 'utf8', cwd: '/tmp', stdio: ['ignore', 'pipe', 'pipe'] }); return status === 0 ? stdout.trim() : 'failed: ' + stderr; };
export default { fetch: async (request) => Response.json(request.method === 'POST' ? run(await request.text()) : fs.readFileSync('/etc/mime.types', 'utf8').includes('image/webp')) };`;

describe('K8 the programs that scripts expect are in the image', () => {
  let bench: SandboxBench;
  let one: BenchSandbox;
  beforeAll(async () => {
    bench = await SandboxBench.open();
    one = await bench.start(await bench.addCode(PROGRAMS), false, { memoryMb: 256 });
  });
  afterAll(async () => {
    await one.end();
    await bench.close();
  });

  test.each([
    ['bash', 'a=(1 2 3); echo "${#a[@]}"', '3'],
    ['grep, sed and awk', "printf 'a 1\\nb 2\\n' | grep b | sed 's/b/c/' | awk '{ print $1 $2 }'", 'c2'],
    [
      'tar, gzip and find',
      'mkdir -p d && echo x > d/f && tar -czf a.tgz d && rm -r d && tar -xzf a.tgz && find d -type f',
      'd/f',
    ],
    ['which and ps', 'which ps && ps -e | grep -c bash', '/usr/bin/ps\n1'],
    ['openssl', 'printf x | openssl dgst -sha256 | grep -o 2d711642', '2d711642'],
    [
      'git',
      'git init -q r && cd r && git -c user.name=a -c user.email=a@b.example commit -q --allow-empty -m first && git log --format=%s',
      'first',
    ],
    ['curl', 'curl -s --max-time 2 http://127.0.0.1:9 || echo "refused $?"', 'refused 7'],
    ['fonts', 'find /usr/share/fonts -name DejaVuSans.ttf | wc -l', '1'],
  ])('K8 %s', async (_programs, script, wanted) => {
    const { text } = await one.call('/', { method: 'POST', body: script });
    expect(JSON.parse(text)).toBe(wanted);
  });

  test('K8 types of files by their endings are there [MA3]', async () => {
    expect(JSON.parse((await one.call('/')).text)).toBe(true);
  });
});
