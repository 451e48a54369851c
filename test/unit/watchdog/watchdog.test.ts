/**
 * The decisions of the watchdog, and its messages to a service manager. faults/stands-still.test.ts tries the whole of
 * it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { notify } from '#watchdog/notify.ts';
import { parseLimit, takeWatchers } from '#watchdog/settings.ts';
import { Silence } from '#watchdog/silence.ts';
import { describeStanding, standingOf } from '#watchdog/standing.ts';
import { type Running, startProcess } from '../../../infra/platform/process.ts';
import { serviceManager } from '../../support/servers/service-manager.ts';

const CHECKOUT = fileURLToPath(new URL('../../..', import.meta.url));

describe('silence', () => {
  const terms = { limitMs: 5_000, beatMs: 250, startMs: 60_000 };

  /** Looks every `every` milliseconds until the silence is too long, or until `to`; returns the time of that look. */
  function lookUntil(silence: Silence, from: number, to: number, every: number): number | undefined {
    for (let now = from + every; now <= to; now += every) if (silence.look(now)) return now - from;
    return undefined;
  }

  test('a silence over the limit and a beat is too long, and one within it is not', () => {
    const silence = new Silence(terms, 0);
    silence.heard();
    expect(lookUntil(silence, 0, 5_250, 250)).toBeUndefined();
    silence.heard();
    expect(lookUntil(silence, 5_250, 20_000, 250)).toBe(5_500);
  });

  test('a silence before the first beat has a longer bound [ST6]', () => {
    expect(lookUntil(new Silence(terms, 0), 0, 59_000, 250)).toBeUndefined();
    expect(lookUntil(new Silence(terms, 0), 0, 90_000, 250)).toBe(60_250);
  });

  test('a time in which the watcher itself stood still counts as one beat, however long it was', () => {
    const silence = new Silence(terms, 0);
    silence.heard();
    expect(lookUntil(silence, 0, 3_000, 250)).toBeUndefined();
    expect(silence.look(3_000 + 3_600_000)).toBe(false);
    expect(silence.silentMs).toBe(3_250);
    // A host on which the watcher itself gets a turn every two seconds ends nothing within 40 s.
    const busy = new Silence(terms, 0);
    busy.heard();
    expect(lookUntil(busy, 0, 40_000, 2_000)).toBeUndefined();
    expect(lookUntil(busy, 40_000, 60_000, 2_000)).toBeDefined();
  });
});

describe('where a process stands', () => {
  const asleep = 'Name:\tnode\nState:\tS (sleeping)\nTracerPid:\t0\n';
  test.each([
    [
      'in eventfd_write (write, descriptor 25, anon_inode:[eventfd-semaphore])',
      {
        status: asleep,
        wchan: 'eventfd_write',
        syscall: '1 0x19 0x7ffd 0x8 0x0 0x0 0x0 0x7ffc 0x7f00\n',
        target: 'anon_inode:[eventfd-semaphore]',
      },
    ],
    ['in futex_wait_queue (futex)', { status: asleep, wchan: 'futex_wait_queue', syscall: '202 0x7f 0x80' }],
    ['in do_thing (system call 999)', { status: asleep, wchan: 'do_thing', syscall: '999 0x1 0x2' }],
    ['in state D of the kernel', { status: asleep.replace('S (', 'D ('), wchan: '0', syscall: '' }],
    ['running', { status: asleep.replace('S (', 'R ('), wchan: '0', syscall: 'running\n' }],
    ['stopped by a signal', { status: asleep.replace('S (', 'T ('), wchan: 'do_signal_stop', syscall: '' }],
    [
      'stopped by a tracer, process 77 (gdb)',
      {
        status: asleep.replace('S (', 't (').replace('TracerPid:\t0', 'TracerPid:\t77'),
        wchan: 'ptrace_stop',
        syscall: '',
        tracer: 'gdb',
      },
    ],
    ['ended', { status: '', wchan: '', syscall: '' }],
  ])('a process is described by where it stands: %s', (text, facts) => {
    expect(describeStanding({ target: '', tracer: '', ...facts }).text).toBe(text);
  });

  test('the place where a process stands is read for one that waits for its input', async () => {
    const child = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'] });
    onTestFinished(() => void child.kill());
    await expect
      .poll(async () => (await standingOf(child.pid ?? 0)).text)
      .toMatch(/^in \S+ \(read, descriptor 0, socket:\[\d+\]\)$/);
  });
});

describe('settings', () => {
  test.each([
    [undefined, 5_000],
    ['', 5_000],
    ['0', undefined],
    ['12.5', 12_500],
  ])('OFFSHOOT_WATCHDOG_S=%s is read', (given, limit) => {
    expect(parseLimit(given === undefined ? {} : { OFFSHOOT_WATCHDOG_S: given })).toBe(limit);
  });

  test.each(['0.5', '-1', '3601', 'soon'])('OFFSHOOT_WATCHDOG_S=%s is refused by name', (given) => {
    expect(() => parseLimit({ OFFSHOOT_WATCHDOG_S: given })).toThrow('OFFSHOOT_WATCHDOG_S');
  });

  test('the watchdog’s settings of this process are not passed on to its children', () => {
    const environment = {
      OFFSHOOT_BEAT_FD: '3',
      NOTIFY_SOCKET: '/run/x',
      WATCHDOG_USEC: '1000000',
      HOME: '/',
    };
    expect(takeWatchers(environment)).toMatchObject({ OFFSHOOT_BEAT_FD: 3, WATCHDOG_USEC: 1_000_000 });
    expect(environment).toEqual({ HOME: '/' });
  });
});

test('a process whose event loop never turns is ended as not started, and one that beats is not', async () => {
  const lines: string[] = [];
  const options = {
    stillLimitMs: 1_000,
    startLimitMs: 2_000,
    onLine: (line: string) => void lines.push(line),
  };
  const run = (program: string): Promise<Running> =>
    startProcess([process.execPath, '--input-type=module-typescript', '--eval', program], options);
  const hung = await run('for (;;);');
  const beating = await run(`
    import { startBeats } from '${CHECKOUT}watchdog/beat.ts';
    startBeats(process.env, console);
    setInterval(() => undefined, 1000);
    console.log(Object.keys(process.env).filter((name) => name.startsWith('OFFSHOOT_BEAT')).length, 'left');
  `);
  expect(await hung.exited).toEqual({
    code: null,
    signal: 'SIGKILL',
    stillness: expect.stringMatching(/^has not begun within 2\.\d s, running$/) as unknown,
  });
  await sleep(3_000);
  expect(await beating.stop(1_000)).toMatchObject({ signal: 'SIGTERM', stillness: undefined });
  expect(lines).toEqual(['0 left']);
});

describe('a service manager', () => {
  test.each(['file', 'name without a file'])('a service manager gets messages at a %s', async (kind) => {
    const folder = await mkdtemp(join(tmpdir(), 'offshoot-notify-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const socket = kind === 'file' ? join(folder, 'notify') : `@${folder}/notify`;
    const said = await serviceManager(socket);
    notify(socket, 'READY=1\nSTATUS=on');
    await expect.poll(() => said).toEqual([`${process.pid} READY=1 STATUS=on`]);
  });

  test('a missing service manager, and a path that cannot be one, are named in the error', () => {
    expect(() => notify('/nowhere/notify', 'READY=1')).toThrow('notify /nowhere/notify: No such file');
    expect(() => notify(`/${'x'.repeat(200)}`, 'READY=1')).toThrow('the path of a socket has 1 to 107 bytes');
  });

  test('a service manager hears of a loop that turns, and of no other [ST7]', async () => {
    const socket = `@offshoot-test-${process.pid}`;
    const said = await serviceManager(socket);
    const program = `
      import { startBeats } from '${CHECKOUT}watchdog/beat.ts';
      const beats = startBeats(process.env, console);
      setInterval(() => undefined, 1000);
      setTimeout(() => beats.ready(), 300);
      process.on('SIGUSR2', () => { for (;;); });
    `;
    const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
      env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '400000' },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    await once(child, 'spawn');
    await expect.poll(() => said, { timeout: 10_000 }).toContain(`${child.pid} READY=1`);
    expect(said[0]).toBe(`${child.pid} EXTEND_TIMEOUT_USEC=30000000`);
    const beats = (): number => said.filter((line) => line === `${child.pid} WATCHDOG=1`).length;
    const before = beats();
    await expect.poll(beats, { timeout: 10_000 }).toBeGreaterThan(before + 3);
    child.kill('SIGUSR2');
    await sleep(500);
    const stopped = beats();
    await sleep(1_000);
    expect(beats()).toBe(stopped);
  });
});
