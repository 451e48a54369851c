/**
 * Attribution of output. Output that may come from something older than an invocation is never shown as that
 * invocation's own. Output after the end of an invocation is marked as such, and not lost.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FunctionLog, type FunctionLogLine, type InvocationDetail } from '#contract/api/api.ts';
import { OtlpReceiver } from '../../support/servers/otlp-receiver.ts';
import { Platform } from '../../support/platform/platform.ts';
import { compileC } from '../../support/sandbox/compile-c.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';
import { packed } from '../abuse/archives.ts';
import { deployArchive } from '../abuse/platform.ts';

const SOURCE = `
import { spawn, spawnSync } from 'node:child_process';
import fs, { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const child = (text, ms, more = {}) => spawn('/bin/sh', ['-c', 'sleep ' + ms / 1000 + '; echo ' + text], { stdio: ['ignore', 'inherit', 'inherit'], ...more });
if (process.env.AT_LOAD) { child('CHILD-of-load', 700); setInterval(() => console.log('TIMER-of-load'), 300); }
let answered;
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const who = url.searchParams.get('who');
    const ms = +(url.searchParams.get('ms') ?? 400);
    const later = (act) => void pause(ms).then(act);
    switch (url.pathname) {
      case '/child': child('LATE-child-' + who, ms, { detached: true }).unref(); break;
      case '/daemon': spawnSync('/bin/sh', ['-c', '(sleep ' + ms / 1000 + '; echo LATE-daemon-' + who + ') &'], { stdio: ['ignore', 'inherit', 'inherit'] }); break;
      case '/fd': later(() => writeSync(1, 'LATE-fd-' + who + '\\n')); break;
      case '/fds': later(() => {
        fs.writevSync(1, [Buffer.from('LATE-v-'), Buffer.from(who + '\\n')]);
        fs.writeFileSync(2, 'LATE-file-' + who + '\\n');
        fs.write(1, Buffer.from('xLATE-async-' + who + '\\ny'), 1, 12 + who.length, () => undefined);
        fs.createWriteStream('', { fd: 1, autoClose: false }).write('LATE-stream-' + who + '\\n');
      }); break;
      case '/console': later(() => console.log('LATE-console-' + who)); break;
      case '/stdout': later(() => process.stdout.write('LATE-stdout-' + who + '\\n')); break;
      case '/worker': new Worker('setTimeout(() => require("fs").writeSync(1, "LATE-worker-' + who + '\\\\n"), ' + ms + '); setTimeout(() => undefined, 3000)', { eval: true }); break;
      case '/worker-console': new Worker('setTimeout(() => console.log("LATE-workerlog-' + who + '"), ' + ms + '); setTimeout(() => undefined, 3000)', { eval: true }); break;
      case '/native': { process.dlopen({ exports: {} }, '/var/task/thread.node'); await pause(ms); break; }
      case '/refused': spawn('/var/task/refused', [String(ms / 1000)], { stdio: 'ignore', detached: true }).unref(); break;
      case '/refused-now': spawnSync('/var/task/refused'); break;
      case '/own': {
        writeSync(1, 'OWN-fd-' + who + '\\n');
        spawnSync('/bin/echo', ['OWN-child-' + who], { stdio: ['ignore', 'inherit', 'inherit'] });
        console.log('OWN-console-' + who);
        break;
      }
      case '/run': await pause(ms); console.log('OWN-console-' + who); break;
    }
    return new Response(who);
  },
};`;

/** A library that starts to print while it is loaded, and a program that makes a refused system call after a while. */
const THREAD = `
#include <pthread.h>
#include <unistd.h>
static void *print(void *given) { for (;;) { usleep(100000); (void)!write(1, "THREAD\\n", 7); } return given; }
__attribute__((constructor)) static void begin(void) { pthread_t thread; pthread_create(&thread, NULL, print, NULL); }
void *napi_register_module_v1(void *env, void *exports) { (void)env; return exports; }`;
const REFUSED = `
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **words) { usleep(count > 1 ? atof(words[1]) * 1000000 : 0); return socket(AF_VSOCK, SOCK_STREAM, 0) >= 0; }`;

let platform: Platform;
let receiver: OtlpReceiver;
beforeAll(async () => {
  receiver = await OtlpReceiver.start();
  platform = await Platform.start({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
  const archive = await packed([
    [{ name: 'index.mjs' }, SOURCE],
    [{ name: 'thread.node', mode: 0o755 }, await compileC(THREAD, ['-shared', '-fPIC'])],
    [{ name: 'refused', mode: 0o755 }, await compileC(REFUSED)],
  ]);
  const limits = { timeout: 20, pids: 64 };
  expect(await deployArchive(platform, 'reused', archive, limits)).toBeUndefined();
  expect(await deployArchive(platform, 'native', archive, limits)).toBeUndefined();
  expect(await deployArchive(platform, 'several', archive, { ...limits, concurrency: 4 })).toBeUndefined();
  expect(
    await deployArchive(platform, 'helped', archive, { ...limits, env: { AT_LOAD: '1' } }),
  ).toBeUndefined();
}, 60_000 * SLOWNESS);
afterAll(async () => {
  await platform?.stop();
  receiver?.close();
});

async function call(path: string): Promise<InvocationDetail> {
  const response = await platform.call(path);
  await response.text();
  return await platform.record(response);
}
async function linesOf(name: string): Promise<FunctionLogLine[]> {
  return FunctionLog.parse(await (await platform.api(`/functions/default/${name}/logs`)).json()).logs;
}
/** The line of a function's log with this text, once it has come. */
async function line(name: string, text: string): Promise<FunctionLogLine> {
  const end = Date.now() + 8_000 * SLOWNESS;
  for (;;) {
    const found = (await linesOf(name)).find((one) => one.text.includes(text));
    if (found) return found;
    if (Date.now() > end) throw new Error(`no line with ${text} in the log of ${name}`);
    await sleep(50);
  }
}
async function textsOf({ id }: InvocationDetail): Promise<string[]> {
  const detail = (await (await platform.api(`/invocations/${id}`)).json()) as InvocationDetail;
  return detail.logs.map(({ text }) => text);
}
let last = 0;
/** ALICE leaves something that prints later; BOB runs then, in the same sandbox. */
async function aliceThenBob(
  name: string,
  path: string,
): Promise<{ alice: InvocationDetail; bob: InvocationDetail; who: string }> {
  const who = `A${++last}`;
  const alice = await call(`${name}/${path}?who=${who}`);
  const bob = await call(`${name}/run?who=B${last}&ms=900`);
  expect(bob.report?.sandbox).toBe(alice.report?.sandbox);
  return { alice, bob, who };
}

test.each([
  ['child', 'a child process'],
  ['daemon', 'a process that has lost its parent'],
  ['worker', 'a worker thread, past the runtime'],
])('Y1 output of %s of an earlier call belongs to no invocation [OB31]', async (path) => {
  const { bob, who } = await aliceThenBob('reused', path);
  const found = await line('reused', `LATE-${path}-${who}`);
  expect(found).toMatchObject({ level: 'stdout', origin: 'unclaimed', sandbox: bob.report?.sandbox });
  expect(found.invocation).toBeUndefined();
  const texts = await textsOf(bob);
  expect(texts.filter((text) => text.includes('LATE'))).toEqual([]);
  expect(texts).toContain(`OWN-console-B${last}`);
  // The record says where such output can be found.
  expect(texts.join()).toContain('unclaimed');
});

test.each(['fd', 'console', 'stdout', 'worker-console'])(
  'Y2 late output of code of an earlier call belongs to that call, and is marked: %s',
  async (path) => {
    const { alice, bob, who } = await aliceThenBob('reused', path);
    const text = `LATE-${path === 'worker-console' ? 'workerlog' : path}-${who}`;
    const found = await line('reused', text);
    expect(found).toMatchObject({ invocation: alice.id, origin: 'late' });
    expect(await textsOf(alice)).toContain(text);
    expect((await textsOf(bob)).filter((one) => one.includes('LATE'))).toEqual([]);
  },
);

test('Y2 late output is attributed for each of the calls that write to a descriptor', async () => {
  const { alice, bob, who } = await aliceThenBob('reused', 'fds');
  for (const kind of ['v', 'file', 'async', 'stream'])
    expect(await line('reused', `LATE-${kind}-${who}`)).toMatchObject({
      text: `LATE-${kind}-${who}`,
      level: kind === 'file' ? 'stderr' : 'stdout',
      invocation: alice.id,
      origin: 'late',
    });
  expect((await textsOf(bob)).filter((one) => one.includes('LATE'))).toEqual([]);
});

test('Y3 output is kept while nothing runs', async () => {
  const child = await call('reused/child?who=IDLE&ms=200');
  expect(await line('reused', 'LATE-child-IDLE')).toMatchObject({
    origin: 'unclaimed',
    sandbox: child.report?.sandbox,
  });
  const late = await call('reused/console?who=IDLE&ms=200');
  expect(await line('reused', 'LATE-console-IDLE')).toMatchObject({ origin: 'late', invocation: late.id });
});

test('Y4 with several calls in a sandbox, output of a process belongs to none, and output of code to its own call', async () => {
  const [one, two] = await Promise.all([
    call('several/own?who=S1'),
    call('several/run?who=S2&ms=600'),
    call('several/run?who=S3&ms=600'),
  ]);
  expect(await line('several', 'OWN-fd-S1')).toMatchObject({ invocation: one.id });
  expect(await line('several', 'OWN-console-S2')).toMatchObject({ invocation: two.id });
  const child = await line('several', 'OWN-child-S1');
  if (one.report?.sandbox === two.report?.sandbox)
    expect(child).toMatchObject({ origin: 'unclaimed', sandbox: one.report?.sandbox });
  const { alice, bob, who } = await aliceThenBob('several', 'child');
  expect(await line('several', `LATE-child-${who}`)).toMatchObject({ origin: 'unclaimed' });
  for (const of of [alice, bob])
    expect((await textsOf(of)).filter((text) => text.includes('LATE'))).toEqual([]);
});

test('Y5 output of a process of the load belongs to no invocation, and output of its code to the only one that runs', async () => {
  const record = await call('helped/run?who=C&ms=1200');
  expect(await line('helped', 'CHILD-of-load')).toMatchObject({ origin: 'unclaimed' });
  const texts = await textsOf(record);
  expect(texts).toContain('TIMER-of-load');
  expect(texts.filter((text) => text.includes('CHILD'))).toEqual([]);
  // While nothing runs, the timer prints for no invocation.
  const idle = async (): Promise<FunctionLogLine | undefined> =>
    (await linesOf('helped')).find(({ text, origin }) => text === 'TIMER-of-load' && origin === 'unclaimed');
  await expect.poll(idle, { timeout: 5_000 * SLOWNESS }).toMatchObject({ level: 'log' });
});

test('Y6 control: where nothing older is left, output of a child and of a descriptor belongs to the run, again and again', async () => {
  const sandboxes = new Set<string | undefined>();
  // Work that the tests before have left is gone by then.
  await sleep(3_500);
  for (let round = 0; round < 4; round++) {
    const record = await call(`reused/own?who=R${round}`);
    sandboxes.add(record.report?.sandbox);
    const own = record.logs.filter(({ text }) => text.startsWith('OWN'));
    expect(own.map(({ text }) => text).toSorted()).toEqual([
      `OWN-child-R${round}`,
      `OWN-console-R${round}`,
      `OWN-fd-R${round}`,
    ]);
    expect(own.filter(({ origin }) => origin !== undefined)).toEqual([]);
  }
  expect(sandboxes.size).toBe(1);
  // Once the work that was left has ended, output belongs to the run again.
  await call('reused/child?who=GONE&ms=300');
  await line('reused', 'LATE-child-GONE');
  const after = await call('reused/own?who=AFTER');
  expect(after.logs.map(({ text }) => text)).toContain('OWN-child-AFTER');
}, 30_000);

test('Y8 output of native code belongs to the first invocation of a sandbox, and to none of the later ones', async () => {
  const first = await call('native/native?who=N1&ms=450');
  const own = first.logs.filter(({ text }) => text === 'THREAD');
  expect(own.length).toBeGreaterThan(1);
  expect(own.filter(({ origin }) => origin !== undefined)).toEqual([]);
  const second = await call('native/run?who=N2&ms=450');
  expect(second.report?.sandbox).toBe(first.report?.sandbox);
  expect(await textsOf(second)).not.toContain('THREAD');
  const unclaimed = (await linesOf('native')).filter(({ origin }) => origin === 'unclaimed');
  expect(unclaimed.map(({ text }) => text)).toContain('THREAD');
});

test('Y9 a system call refused to a process of an earlier call is not reported for the running one', async () => {
  const { bob } = await aliceThenBob('reused', 'refused');
  expect(bob.report?.refusedCalls).toBeUndefined();
  expect(await line('reused', 'socket(AF_VSOCK)')).toMatchObject({ level: 'platform', origin: 'unclaimed' });
  // Control: a refusal to a process of the run's own is reported for the run.
  await sleep(100);
  const own = await call('reused/refused-now?who=C');
  expect(own.report?.refusedCalls).toEqual(['socket(AF_VSOCK)']);
});

test('Y7 each view of a log shows the mark of late output', async () => {
  const { alice, who } = await aliceThenBob('reused', 'console');
  const text = `LATE-console-${who}`;
  await line('reused', text);
  await call(`reused/child?who=SHOWN&ms=100`);
  await line('reused', 'LATE-child-SHOWN');
  const shown = (await platform.cli('logs', 'reused')).stdout.split('\n');
  expect(shown.find((one) => one.includes(text))).toMatch(/ late /);
  expect(shown.find((one) => one.includes('LATE-child-SHOWN'))).toMatch(/ unclaimed /);
  const trace = (await platform.cli('trace', alice.id)).stdout.split('\n');
  expect(trace.find((one) => one.includes(text))).toMatch(/ late /);
  const sent = (body: string): Record<string, unknown> | undefined =>
    receiver.logs.find((one) => one.body === body)?.attributes;
  await expect.poll(() => sent(text)?.['offshoot.log.origin'], { timeout: 10_000 }).toBe('late');
  expect(sent(text)?.['faas.invocation_id']).toBe(alice.id);
  await expect
    .poll(() => sent('LATE-child-SHOWN')?.['offshoot.log.origin'], { timeout: 10_000 })
    .toBe('unclaimed');
  expect(sent('LATE-child-SHOWN')).not.toHaveProperty('faas.invocation_id');
});
