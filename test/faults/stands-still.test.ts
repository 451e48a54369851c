/** Q17 to Q22 of the list of scenarios: event loops that stand still, in every way that is possible. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WORKER_TTL_MS } from '#contract/functions/limits.ts';
import { nativeProgram } from '../security/abuse/platform.ts';
import { sandboxCgroups } from '../support/sandbox/cgroup-paths.ts';
import { type Part, Platform } from '../support/platform/platform.ts';
import { acknowledged, ended, enqueuer } from './history.ts';

/**
 * Upper bound on the time until callers of a silent worker get their error: its heartbeat's time to live, a check by
 * the gateway and an announcement, on a busy machine.
 */
const TOLD_MS = WORKER_TTL_MS + 2_500;
/**
 * Bounds on the end of a silent process: no earlier than LIMIT_MS, and at most this much later (a beat, a check,
 * reading where it stands, and a busy machine).
 */
const LIMIT_MS = 5_000;
const ENDED_WITHIN_MS = LIMIT_MS + 7_000;
/** A lost worker's jobs restart after their lock expires and the queue is checked twice, about 16 s; then they run. */
const RECOVERY_MS = 45_000;
const SUPPORT = join(import.meta.dirname, '../support/faults');

let folder: string;
let platform: Platform;
/** Undoes the changes of a test to processes that are not the platform's. */
let tidy: (() => void)[];
beforeEach(async () => {
  tidy = [];
  folder = await mkdtemp(join(tmpdir(), 'offshoot-still-'));
});
afterEach(async () => {
  for (const undo of tidy) undo();
  await platform.stop();
  await rm(folder, { recursive: true });
});

async function open(environment: Readonly<Record<string, string>> = {}): Promise<void> {
  platform = await Platform.start(
    {
      OFFSHOOT_CAPACITY: '16',
      OFFSHOOT_PREPARED: '1',
      OFFSHOOT_TEST_STAND: join(folder, 'stand'),
      NODE_OPTIONS: `--import=${join(SUPPORT, 'stand-still.mjs')}`,
      ...environment,
    },
    [],
    { supervised: true },
  );
  await platform.deploy('retries', { timeout: 60 });
}

interface Answer {
  readonly outcome: string | null;
  readonly ms: number;
}

async function call(sleepMs: number): Promise<Answer> {
  const before = performance.now();
  const response = await platform.call('retries', { method: 'POST', body: JSON.stringify({ sleepMs }) });
  await response.text();
  return { outcome: response.headers.get('x-offshoot-outcome'), ms: performance.now() - before };
}

const answers = (count: number, sleepMs: number): Promise<Answer[]> =>
  Promise.all(Array.from({ length: count }, () => call(sleepMs)));

/** Sandboxes of a worker that have processes. */
function sandboxesOf(worker: number): string[] {
  return readdirSync(sandboxCgroups())
    .filter((name) => name.startsWith(`${worker}-`))
    .filter((name) => readFileSync(`${sandboxCgroups()}/${name}/cgroup.procs`, 'utf8') !== '');
}

async function workers(): Promise<number> {
  const health = (await (await fetch(`${platform.url}/healthz`)).json()) as { workers: number };
  return health.workers;
}

async function stopBySignal(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await expect.poll(() => readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^State:\tT/m);
}

async function stopByTracer(pid: number): Promise<void> {
  const program = join(folder, 'tracer');
  await promisify(execFile)('gcc', ['-std=gnu17', '-O1', '-o', program, join(SUPPORT, 'tracer.c')]);
  const tracer = spawn(program, [String(pid)], { stdio: ['ignore', 'pipe', 'inherit'] });
  tidy.push(() => tracer.kill('SIGKILL'));
  const [said] = (await once(tracer.stdout, 'data')) as [Buffer];
  expect(said.toString()).toBe('stopped\n');
}

function stand(how: string): (pid: number) => Promise<void> {
  return async (pid) => {
    await writeFile(join(folder, 'stand'), how);
    process.kill(pid, 'SIGUSR2');
  };
}

/** Uses the attack that stops a worker in this way where splice(2) is allowed. */
async function standForLock(pid: number): Promise<void> {
  await writeFile(join(folder, 'stand.holder'), await nativeProgram('stall'), { mode: 0o755 });
  await stand('lock')(pid);
}

type Way = [name: string, begin: (pid: number) => Promise<void>, said: RegExp];
const STOPPED: Way = ['stopped by a signal', stopBySignal, /, stopped by a signal;/];
const LOOP: Way = [
  'in a loop without end',
  stand('loop'),
  /, running JavaScript at loopWithoutEnd \(file:\S+stand-still\.mjs:\d+:\d+\);/,
];
const WAYS: Way[] = [
  STOPPED,
  ['stopped by a debugger', stopByTracer, /, stopped by a tracer, process \d+ \(tracer\);/],
  ['paused by an inspector', stand('inspector'), /, in futex\S* \(futex\), JavaScript at \S+ \(/],
  ['in a write that blocks', stand('write'), /, in \S*pipe_write \(write, descriptor \d+, \S+stand\.pipe\);/],
  [
    'asleep for a lock that a child holds',
    standForLock,
    /, in \S*pipe_read \(read, descriptor \d+, \S+stand\.locked\);/,
  ],
  LOOP,
];

/** Waits until the supervisor reports the end of `part`; returns the line, and the milliseconds that it took. */
async function told(part: 'worker' | 'gateway'): Promise<{ line: string; ms: number }> {
  const before = performance.now();
  const line = new RegExp(`^${part} +stood still for .*$`, 'm');
  await expect.poll(() => platform.output, { timeout: ENDED_WITHIN_MS, interval: 50 }).toMatch(line);
  return { line: line.exec(platform.output)?.[0] ?? '', ms: performance.now() - before };
}

test.each(WAYS)(
  'Q17 worker-still: a worker that is %s is ended, its calls fail at once, and its jobs go to others [ST1, ST2, ST3]',
  async (_, begin, said) => {
    await open();
    const still = platform.pid('worker');
    const jobs = await acknowledged(enqueuer(platform, 'retries'), 6, { sleepMs: 1_000 });
    const taken = answers(6, 30_000);
    await sleep(500);
    platform.run('worker-2');
    await expect.poll(workers, { timeout: 20_000 }).toBe(2);
    jobs.push(...(await acknowledged(enqueuer(platform, 'retries'), 20, { sleepMs: 500 })));
    await sleep(300);
    expect(sandboxesOf(still)).not.toEqual([]);

    await begin(still);
    const begunAt = performance.now();
    const ending = told('worker');
    // Calls that the worker's last BLMPOP still takes, and that it never announces.
    const untaken = await answers(8, 0);
    for (const { outcome, ms } of untaken) {
      expect(outcome).toBeOneOf(['ok', 'worker_lost']);
      expect(ms).toBeLessThan(TOLD_MS + 2_000);
    }
    for (const { outcome } of await taken) expect(outcome).toBe('worker_lost');
    expect(performance.now() - begunAt).toBeLessThan(TOLD_MS);
    await sleep(begunAt + TOLD_MS - performance.now());
    // The worker is alive but silent, and gets no more calls.
    expect(platform.pid('worker')).toBe(still);
    for (const { outcome } of await answers(40, 0)) expect(outcome).toBe('ok');

    const { line, ms } = await ending;
    expect(line).toMatch(said);
    expect(line).toMatch(/; ended it; starting it again in 100 ms$/);
    expect(ms).toBeGreaterThan(LIMIT_MS - 200);
    await expect.poll(() => sandboxesOf(still), { timeout: 5_000 }).toEqual([]);
    await expect.poll(workers, { timeout: 20_000 }).toBe(2);
    expect(platform.pid('worker')).not.toBe(still);

    const records = await ended(platform, jobs, RECOVERY_MS);
    for (const { outcome } of records) expect(outcome).toBe('ok');
    const causes = records.flatMap(({ attempts = [] }) => attempts.map(({ outcome }) => outcome));
    expect(causes).toContain('worker_lost');
  },
);

test.each([STOPPED, LOOP])(
  'Q18 gateway-still: a gateway that is %s is ended and answers again, and no job is lost [ST1, ST8]',
  async (_, begin, said) => {
    await open();
    const still = platform.pid('gateway');
    const jobs = await acknowledged(enqueuer(platform, 'retries'), 20, { sleepMs: 500 });
    const cut = call(30_000).then(
      () => 'answered',
      () => 'cut off',
    );
    await sleep(300);
    await begin(still);
    const { line } = await told('gateway');
    expect(line).toMatch(said);
    expect(await cut).toBe('cut off');
    await platform.ready();
    expect(platform.pid('gateway')).not.toBe(still);
    expect((await call(0)).outcome).toBe('ok');
    const metrics = await fetch(`${platform.url}/metrics`, {
      headers: { authorization: `Bearer ${platform.key}` },
    });
    expect(await metrics.text()).toMatch(/^offshoot_restarts_total\{reason="stood_still"\} 1$/m);
    for (const { outcome } of await ended(platform, jobs, RECOVERY_MS)) expect(outcome).toBe('ok');
  },
);

const PARTS: readonly Part[] = ['worker', 'gateway'];

/** Checks that no process was ended: the ids are the same, and calls work. */
async function unharmed(before: readonly number[]): Promise<void> {
  expect(PARTS.map((part) => platform.pid(part))).toEqual(before);
  expect(platform.output).not.toMatch(/stood still|starting it again/);
  await platform.ready();
  await expect.poll(async () => (await call(0)).outcome, { timeout: 10_000 }).toBe('ok');
}

test.each([
  ['stopped by a signal', stopBySignal],
  ['in a loop', stand('loop 3000')],
])('Q19 short-stall: worker and gateway that are %s for 3 s are left alone [ST4]', async (_, begin) => {
  await open();
  const pids = PARTS.map((part) => platform.pid(part));
  for (const pid of pids) await begin(pid);
  await sleep(3_000);
  for (const pid of pids) process.kill(pid, 'SIGCONT');
  await sleep(LIMIT_MS + 1_000);
  await unharmed(pids);
});

test('Q20 watchdog-off: with OFFSHOOT_WATCHDOG_S=0 a process that stands still is left alone', async () => {
  await open({ OFFSHOOT_WATCHDOG_S: '0' });
  const pids = PARTS.map((part) => platform.pid(part));
  const worker = platform.pid('worker');
  await stopBySignal(worker);
  await sleep(ENDED_WITHIN_MS);
  expect(readFileSync(`/proc/${worker}/status`, 'utf8')).toMatch(/^State:\tT/m);
  process.kill(worker, 'SIGCONT');
  await unharmed(pids);
});

test('Q21 suspended: a machine that was suspended as a whole is not taken for a stalled process', async () => {
  await open();
  const pids = PARTS.map((part) => platform.pid(part));
  const all = [platform.pid('supervisor'), ...pids];
  for (const pid of all) await stopBySignal(pid);
  await sleep(LIMIT_MS + 4_000);
  // The supervisor is the first to run again.
  for (const pid of all) {
    process.kill(pid, 'SIGCONT');
    await sleep(300);
  }
  await sleep(LIMIT_MS + 1_000);
  await unharmed(pids);
});

test('Q22 stop-still: a supervisor that is asked to stop ends processes that stand still, and starts none [ST5]', async () => {
  await open();
  const pids = PARTS.map((part) => platform.pid(part));
  // The supervisor waits for the gateway first, for longer than a worker may stand still.
  for (const pid of pids) await stopBySignal(pid);
  const before = performance.now();
  await platform.kill('supervisor', 'SIGTERM');
  expect(performance.now() - before).toBeLessThan(25_000);
  expect(platform.output).toMatch(/^worker +stood still for .*; ended it$/m);
  expect(platform.output).not.toContain('starting it again');
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});
