/**
 * A function's process is PID 1 of its sandbox: orphans must be reaped, and signals to itself must act, as in any other
 * process.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Exit } from '../../../worker/sandbox/zygote/zygote.ts';
import { type BenchSandbox, SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

const PROBE = `
import { execFile, execFileSync, spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
const run = (...command) => new Promise((resolve) => execFile(...command, (error, stdout) => resolve(error?.code ?? stdout.trim())));
/** Processes of the sandbox that have ended and that nobody has waited for. */
const zombies = () => readdirSync('/proc').filter((pid) => { try {
  return /^\\d+$/.test(pid) && / Z /.test(readFileSync('/proc/' + pid + '/stat', 'utf8')); } catch { return false; } }).length;
const probes = {
  // Each shell leaves children behind that end when it is gone.
  '/orphans': async (query) => {
    const each = Number(query.get('each'));
    let most = 0;
    for (let left = Number(query.get('all')); left > 0; left -= each) {
      const shell = await run('/bin/sh', ['-c', 'i=0; while [ $i -lt ' + each + ' ]; do (sleep 0.01 &) ; i=$((i+1)); done; echo ok']);
      if (shell !== 'ok') throw new Error('the shell said ' + shell);
      await sleep(30);
      most = Math.max(most, zombies());
    }
    await sleep(300);
    return { most, left: zombies() };
  },
  // The runtime's own children keep their exit codes, many at once and with orphans in between.
  '/own-children': async () => {
    const codes = await Promise.all(Array.from({ length: 20 }, (_, n) => run('/bin/sh', ['-c', '(sleep 0.01 &); sleep 0.0' + (n % 9) + '; exit ' + (n + 1)])));
    return codes;
  },
  // Its loop stands still while its children end, and goes on long after.
  '/late': async () => {
    const child = run('/bin/sh', ['-c', 'exit 7']);
    const until = Date.now() + 200; while (Date.now() < until);
    execFileSync('/bin/true');
    return child;
  },
  '/worker': () => new Promise((resolve, reject) => {
    const worker = new Worker("require('node:child_process').execFile('/bin/sh', ['-c', 'exit 9'], (error) => require('node:worker_threads').parentPort.postMessage(error.code))", { eval: true });
    worker.on('message', resolve); worker.on('error', reject);
  }),
  '/handled': async () => {
    const heard = new Promise((resolve) => process.once('SIGTERM', resolve));
    process.kill(process.pid, 'SIGTERM');
    return heard;
  },
  '/harmless': () => [process.kill(process.pid, 0), process.kill(process.pid, 'SIGCHLD'), process.kill(process.pid, 'SIGWINCH')],
  '/signal': async (query) => { process.kill(process.pid, query.get('name')); console.log('went on'); },
};
export default { fetch: async (request) => {
  const { pathname, searchParams } = new URL(request.url);
  return Response.json(await probes[pathname](searchParams));
} };`;

describe('the process of a function', () => {
  let bench: SandboxBench;
  let code: string;
  let sandbox: BenchSandbox;
  const ask = async (path: string): Promise<unknown> => JSON.parse((await sandbox.call(path)).text);
  beforeAll(async () => {
    bench = await SandboxBench.open();
    code = await bench.addCode(PROBE);
    sandbox = await bench.start(code);
  });
  afterAll(async () => {
    await sandbox.end();
    await bench.close();
  });

  test('the process of a function reaps 500 orphans, ten times as many as its limit of 64 processes could hold [LI6]', async () => {
    const { left } = (await ask('/orphans?all=500&each=25')) as { most: number; left: number };
    expect(left).toBe(0);
  });

  test('the process of a function leaves its own children to the code that started them', async () => {
    expect(await ask('/own-children')).toEqual(Array.from({ length: 20 }, (_, number) => number + 1));
    expect(await ask('/late')).toBe(7);
    expect(await ask('/worker')).toBe(9);
  });

  test('the process of a function runs its signal handlers, and ignores signals that are ignored by default', async () => {
    expect(await ask('/handled')).toBe('SIGTERM');
    expect(await ask('/harmless')).toEqual([true, true, true]);
  });

  test.each(['SIGTERM', 'SIGKILL', 'SIGSEGV', 'SIGUSR1', 'SIGABRT'])(
    'the process of a function is ended by its own %s [LI6]',
    async (name) => {
      const victim = await bench.start(code);
      const call = victim.call(`/signal?name=${name}`);
      const failed = expect(call).rejects.toThrow(name);
      const exit: Exit = await victim.sandbox.ended;
      expect(exit).toEqual({ code: undefined, signal: name });
      await failed;
      await victim.cgroup.remove();
    },
  );
});
