/** Faults that are injected into the processes of a working platform, at random and repeatedly. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Platform } from '../../support/platform/platform.ts';
import type { Random } from './random.ts';

export interface Fault {
  readonly name: string;
  /** Injects the fault, then does what an operator would do by hand, such as starting a dead process again. */
  readonly act: (platform: Platform, random: Random) => Promise<void>;
}

const WORKERS = ['worker', 'worker-2'] as const;

export const FAULTS: readonly Fault[] = [
  {
    name: 'worker killed',
    async act(platform, random) {
      const worker = random.one(WORKERS);
      await platform.kill(worker);
      await sleep(random.between(0, 2_000));
      platform.run(worker);
    },
  },
  {
    name: 'worker asked to stop',
    async act(platform, random) {
      const worker = random.one(WORKERS);
      await platform.kill(worker, 'SIGTERM');
      platform.run(worker);
    },
  },
  {
    name: 'worker held up',
    async act(platform, random) {
      const pid = platform.pid(random.one(WORKERS));
      process.kill(pid, 'SIGSTOP');
      await sleep(random.between(500, 14_000));
      process.kill(pid, 'SIGCONT');
    },
  },
  {
    name: 'gateway killed',
    async act(platform, random) {
      await platform.kill('gateway');
      await sleep(random.between(0, 1_000));
      platform.run('gateway');
    },
  },
  {
    name: 'gateway asked to stop',
    async act(platform) {
      await platform.kill('gateway', 'SIGTERM');
      platform.run('gateway');
    },
  },
  {
    name: 'Redis killed',
    async act(platform, random) {
      await platform.redis.kill();
      await sleep(random.between(0, 3_000));
      await platform.redis.resume();
    },
  },
  {
    name: 'Redis held up',
    async act(platform, random) {
      const pid = platform.redis.pid;
      if (pid === undefined) return;
      process.kill(pid, 'SIGSTOP');
      await sleep(random.between(200, 5_000));
      process.kill(pid, 'SIGCONT');
    },
  },
];
