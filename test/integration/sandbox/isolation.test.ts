/** The view from inside a sandbox: namespaces, identity, privileges, file system, network. */
import { readlinkSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BASE_ENVIRONMENT } from '#contract/functions/start-variables.ts';
import { NODE_RUNTIMES } from '../../support/runtime/node-runtimes.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';
import { type BenchSandbox, SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

const PROBE = `
import { readFileSync, readlinkSync, readdirSync, writeFileSync, existsSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { connect } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
const attempt = (work) => { try { return work() ?? 'done'; } catch (error) { return error.code ?? String(error); } };
const probes = {
  '/namespaces': () => Object.fromEntries(['user','pid','mnt','net','ipc','uts','cgroup'].map((n) => [n, readlinkSync('/proc/self/ns/' + n)])),
  '/status': () => Object.fromEntries(readFileSync('/proc/self/status', 'utf8').trim().split('\\n').map((l) => l.split(':\\t'))),
  '/identity': () => ({ uid: process.getuid(), gid: process.getgid(), pid: process.pid, hostname: hostname(),
    uidMap: readFileSync('/proc/self/uid_map', 'utf8').trim().split(/ +/), setgroups: readFileSync('/proc/self/setgroups', 'utf8').trim() }),
  '/fds': () => readdirSync('/proc/self/fd').map((fd) => attempt(() => readlinkSync('/proc/self/fd/' + fd))),
  '/files': () => ({ root: readdirSync('/'), shadow: attempt(() => readFileSync('/etc/shadow', 'utf8')), sys: attempt(() => readdirSync('/sys').length),
    write: attempt(() => writeFileSync('/usr/bin/x', '')), task: attempt(() => writeFileSync('/var/task/x', '')),
    tmp: attempt(() => writeFileSync('/tmp/x', 'x')), dev: readdirSync('/dev'), procs: readdirSync('/proc').filter((n) => /^\\d+$/.test(n)) }),
  '/environment': () => ({ environ: attempt(() => readFileSync('/proc/self/environ', 'utf8')), env: process.env, argv: process.argv, cgroup: readFileSync('/proc/self/cgroup', 'utf8') }),
  '/limits': () => readFileSync('/proc/self/limits', 'utf8'),
  '/child': () => execFileSync('/bin/sh', ['-c', 'id -u; cat /proc/self/status']).toString(),
  '/unshare': () => attempt(() => execFileSync('/usr/bin/chroot', ['/', '/bin/true'], { stdio: 'pipe' })),
};
export default { async fetch(request) {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === '/connect') return Response.json(await new Promise((resolve) => {
    const started = Date.now();
    const socket = connect({ host: searchParams.get('host'), port: Number(searchParams.get('port')) });
    socket.on('connect', () => resolve({ result: 'connected' }));
    socket.on('error', (error) => resolve({ result: error.code, ms: Date.now() - started }));
  }));
  if (pathname === '/loopback') { const { createServer } = await import('node:http');
    const server = createServer((_, response) => response.end('inside')); await new Promise((r) => server.listen(0, '127.0.0.1', r));
    const text = await (await fetch('http://127.0.0.1:' + server.address().port)).text(); server.close(); return Response.json({ text }); }
  return Response.json(probes[pathname]());
} };`;

const NAMESPACES = ['user', 'pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup'] as const;

describe.each(NODE_RUNTIMES)('a sandbox of %s', (runtime) => {
  let bench: SandboxBench;
  let one: BenchSandbox;
  let other: BenchSandbox;
  const ask = async <T>(sandbox: BenchSandbox, path: string): Promise<T> =>
    JSON.parse((await sandbox.call(path)).text) as T;

  beforeAll(async () => {
    bench = await SandboxBench.open(runtime);
    const code = await bench.addCode(PROBE);
    one = await bench.start(code);
    other = await bench.start(code);
  });
  afterAll(async () => {
    await Promise.all([one.end(), other.end()]);
    await bench.close();
  });

  test('a sandbox has seven namespaces that are neither the host’s nor a sibling’s [IS1]', async () => {
    const own = await ask<Record<string, string>>(one, '/namespaces');
    const sibling = await ask<Record<string, string>>(other, '/namespaces');
    for (const name of NAMESPACES) {
      expect(own[name], name).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
      expect(own[name], name).not.toBe(sibling[name]);
    }
  });

  test('a sandbox has no capability, no way to gain one, and a system call filter [IS2, VM5]', async () => {
    const status = await ask<Record<string, string>>(one, '/status');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(status[set], set).toMatch(/^0+$/);
    expect(status['NoNewPrivs']).toBe('1');
    expect(status['Seccomp']).toBe('2');
  });

  test('a sandbox passes the same restrictions to its child processes', async () => {
    const output = await ask<string>(one, '/child');
    expect(output).toMatch(/^1000\n/);
    expect(output).toMatch(/CapEff:\t0+\n/);
    expect(output).toMatch(/NoNewPrivs:\t1/);
    expect(output).toMatch(/Seccomp:\t2/);
  });

  test('a sandbox runs as an id of the host that no other live sandbox has, and that is not the worker’s [IS3]', async () => {
    const [a, b] = await Promise.all(
      [one, other].map((sandbox) =>
        ask<{ uid: number; uidMap: string[]; setgroups: string }>(sandbox, '/identity'),
      ),
    );
    expect(a?.uid).toBe(1000);
    expect(a?.setgroups).toBe('deny');
    // inside, outside (as seen from the launcher's namespace), length
    expect(a?.uidMap).toHaveLength(3);
    expect(a?.uidMap[2]).toBe('1');
    expect(a?.uidMap[1]).not.toBe('0');
    expect(a?.uidMap[1]).not.toBe(b?.uidMap[1]);
  });

  test('a sandbox holds only its channel, its output and an event loop [IS6]', async () => {
    const targets = await ask<string[]>(one, '/fds');
    const sockets = targets.filter((target) => target.startsWith('socket:'));
    expect(sockets).toHaveLength(1);
    for (const target of targets) {
      expect(target).toMatch(
        /^(socket:|pipe:|anon_inode:\[event(poll|fd)\]|\/dev\/null|\/proc\/1\/fd|ENOENT)/,
      );
    }
  });

  test('a sandbox sees a root of its own that it cannot change, and nothing of the host [IS4]', async () => {
    const files = await ask<Record<string, unknown>>(one, '/files');
    expect(files['shadow']).toBe('ENOENT');
    // Only the files that name its own limits: test/real/machine lists them.
    expect(files['sys']).toBe(1);
    expect(files['write']).toMatch(/EACCES|EROFS/);
    expect(files['task']).toBe('EROFS');
    expect(files['tmp']).toBe('done');
    expect(files['procs']).toEqual(['1']);
    expect((files['dev'] as string[]).toSorted()).toEqual(
      ['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero'].toSorted(),
    );
  });

  test('a sandbox has the documented environment and nothing more, and does not see where its cgroup is', async () => {
    const { environ, env, cgroup } = await ask<{ environ: string; env: object; cgroup: string }>(
      one,
      '/environment',
    );
    // The process is not dumpable, so root owns those of its /proc files that could reveal something.
    expect(environ).toBe('EACCES');
    expect(env).toEqual(BASE_ENVIRONMENT);
    for (const line of cgroup
      .trim()
      .split('\n')
      .filter((l) => /cpu|memory|pids|^0::/.test(l)))
      expect(line).toMatch(/:\/$|:\/\.\./);
  });

  test('a sandbox reaches no network, and fails at once when it tries [IS5]', async () => {
    for (const host of ['1.1.1.1', '10.0.0.1', '169.254.169.254']) {
      const { result, ms } = await ask<{ result: string; ms: number }>(one, `/connect?host=${host}&port=80`);
      expect(result).toBe('ENETUNREACH');
      expect(ms).toBeLessThan(100 * SLOWNESS);
    }
    const { result } = await ask<{ result: string }>(one, '/connect?host=127.0.0.1&port=6379');
    expect(result).toBe('ECONNREFUSED');
  });

  test('a sandbox can talk to itself over 127.0.0.1', async () => {
    expect(await ask(one, '/loopback')).toEqual({ text: 'inside' });
  });

  test('a sandbox may not chroot', async () => {
    expect(await ask<string>(one, '/unshare')).not.toBe('done');
  });
});
