import { describe, expect, test } from 'vitest';
import { Manifest } from '#contract/functions/manifest.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { CpuClock, pauseMs } from '../../../../worker/run/cpu-clock.ts';
import { RUNTIME_KINDS } from '#contract/functions/runtimes.ts';
import { EXHAUSTED_STATUS } from '#contract/wire/control.ts';
import { blameMemory, blamePids, whyEnded } from '../../../../worker/sandbox/zygote/exit-cause.ts';

describe('whyEnded', () => {
  const killed = { code: undefined, signal: 'SIGKILL' };
  test('whyEnded blames memory only when the kernel counted a kill', () => {
    expect(whyEnded(killed, 1)).toBe('out_of_memory');
    expect(whyEnded(killed, 0)).toBe('crashed');
  });
  test('whyEnded blames memory when a function exits or crashes after it lost a child to memory', () => {
    expect(whyEnded({ code: 3, signal: undefined }, 1)).toBe('out_of_memory');
    expect(whyEnded({ code: undefined, signal: 'SIGSEGV' }, 1)).toBe('out_of_memory');
    expect(whyEnded({ code: 3, signal: undefined }, 0)).toBe('exited');
    expect(whyEnded({ code: undefined, signal: 'SIGSEGV' }, 0)).toBe('crashed');
  });
  test('whyEnded blames memory when the runtime has found no room for an object', () => {
    expect(whyEnded({ code: EXHAUSTED_STATUS, signal: undefined }, 0)).toBe('out_of_memory');
    expect(whyEnded({ code: EXHAUSTED_STATUS + 1, signal: undefined }, 0)).toBe('exited');
  });
  test('whyEnded blames the platform for a lost zygote', () => {
    expect(whyEnded({ ...killed, zygoteLost: true }, 1)).toBe('platform_error');
  });
});

const NODE = RUNTIME_KINDS.node;

describe('blameMemory', () => {
  const thread = 'Error [ERR_WORKER_OUT_OF_MEMORY]: Worker terminated due to reaching memory limit';
  test('blameMemory blames the limit only for the error of a thread that has met it', () => {
    expect(blameMemory('error', thread, NODE)).toBe('out_of_memory');
    expect(blameMemory('load_error', thread, NODE)).toBe('out_of_memory');
    expect(blameMemory('error', 'Error: out of memory', NODE)).toBe('error');
    expect(blameMemory('error', undefined, NODE)).toBe('error');
    expect(blameMemory('timeout', thread, NODE)).toBe('timeout');
  });
});

describe('blamePids', () => {
  test('blamePids blames the limit only when a process was refused', () => {
    expect(blamePids('exited', 0, undefined, NODE)).toBe('exited');
    expect(blamePids('exited', 1, undefined, NODE)).toBe('pids_limit');
    expect(blamePids('crashed', 1, undefined, NODE)).toBe('pids_limit');
  });
  test('blamePids blames the limit only for an error that comes from it', () => {
    expect(blamePids('error', 1, 'Error spawn /bin/true EAGAIN', NODE)).toBe('pids_limit');
    expect(blamePids('error', 1, 'TypeError x is undefined', NODE)).toBe('error');
    expect(blamePids('error', 0, 'Error connect EAGAIN', NODE)).toBe('error');
  });
  test('blamePids leaves other outcomes unchanged', () => {
    for (const outcome of ['ok', 'timeout', 'out_of_memory', 'cancelled'] as const)
      expect(blamePids(outcome, 5, 'EAGAIN', NODE)).toBe(outcome);
  });
});

describe('the clock of processor time', () => {
  test('the clock of processor time looks no sooner than the time can be used up', () => {
    // For a short time all processors at once are the bound, for a long time the quota is.
    expect(pauseMs(400, 4, 4)).toBe(100);
    expect(pauseMs(10_000, 0.5, 4)).toBe(19_900);
    expect(pauseMs(1, 1, 4)).toBe(10);
  });

  test('the clock of processor time ends a run at its limit, once, and leaves others alone', async () => {
    const clock = new CpuClock();
    const started = performance.now();
    const elapsed = (): number => performance.now() - started;
    const ended: string[] = [];
    const watch = (name: string, limitMs: number, speed: number) =>
      clock.watch({
        cpuMs: () => elapsed() * speed,
        limitMs,
        cores: 1,
        onLimit: () => ended.push(name),
      });
    watch('busy', 60, 1);
    watch('idle', 60, 0);
    watch('stopped', 60, 1)();
    await expect.poll(() => ended, { timeout: 5_000 }).toContain('busy');
    expect(elapsed()).toBeGreaterThanOrEqual(60);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(ended).toEqual(['busy']);
  });
});

describe('limits in offshoot.json', () => {
  test('limits in offshoot.json have defaults, and ceilings that the error names', () => {
    const { pids, openFiles, tmpSize, tmpFiles, requestSize, responseSize, logSize, cpuTime, ...others } =
      Manifest.parse({ name: 'fn' });
    expect(others.streamIdleTimeout).toBe(60);
    expect({ pids, openFiles, tmpSize, tmpFiles, requestSize, responseSize, logSize, cpuTime }).toEqual({
      pids: 128,
      openFiles: 1_024,
      tmpSize: 64,
      tmpFiles: 16_384,
      requestSize: 100,
      responseSize: 100,
      logSize: 256,
      cpuTime: undefined,
    });
    const over = {
      pids: 5_000,
      openFiles: 20_000,
      tmpSize: 40_000,
      tmpFiles: 2_000_000,
      requestSize: 70_000,
      responseSize: 70_000,
      streamIdleTimeout: 90_000,
      logSize: 2_000,
      cpuTime: 90_000,
    };
    for (const [field, value] of Object.entries(over)) {
      const parsed = Manifest.safeParse({ name: 'fn', [field]: value });
      expect(parsed.error?.issues[0]?.path, field).toEqual([field]);
      expect(parsed.error?.issues[0]?.message, field).toMatch(/<=/);
    }
  });
  test('each limit whose outcome says so names the setting to change [LM12]', () => {
    const settings = {
      timeout: 'timeout',
      cpu_limit: 'cpuTime',
      out_of_memory: 'memory',
      pids_limit: 'pids',
      response_too_large: 'responseSize',
      load_timeout: 'initTimeout',
      stream_idle: 'streamIdleTimeout',
      expired: 'queueTime',
    } as const;
    for (const [outcome, setting] of Object.entries(settings)) {
      expect(OUTCOMES[outcome as keyof typeof settings].next).toContain(`"${setting}"`);
      expect(Object.keys(Manifest.shape)).toContain(setting);
    }
  });
});
