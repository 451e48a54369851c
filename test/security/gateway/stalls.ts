/**
 * Measures how long the event loop of a process of the platform stands still during an action, and the calls of another
 * tenant meanwhile.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Platform, type Part } from '../../support/platform/platform.ts';
import { beat, type Stall } from './heartbeat.ts';
import { percentile } from '../../support/platform/stopwatch.ts';

export interface Watched {
  readonly gateway: Stall;
  readonly worker: Stall;
  /** 99th percentile of the other tenant's calls, in milliseconds. */
  readonly p99: number;
  readonly calls: number;
}

export class WatchedPlatform {
  readonly platform: Platform;
  readonly #folder: string;
  readonly #asked = new Map<Part, number>();

  private constructor(platform: Platform, folder: string) {
    this.platform = platform;
    this.#folder = folder;
  }

  /** Stalls of a platform whose tenant `other` has the public function `honest`. */
  static async start(environment: Readonly<Record<string, string>> = {}): Promise<WatchedPlatform> {
    const folder = await mkdtemp(join(tmpdir(), 'offshoot-heartbeat-'));
    const preload = fileURLToPath(new URL('./heartbeat.ts', import.meta.url));
    const platform = await Platform.start({
      HEARTBEAT_FOLDER: folder,
      NODE_OPTIONS: `--import ${preload}`,
      ...environment,
    });
    await platform.deploy('hello-fetch', { name: 'honest' }, 'other');
    return new WatchedPlatform(platform, folder);
  }

  /** Runs an action while another tenant calls its function, one call after the other. Throws when a call fails. */
  async during(action: () => Promise<unknown>): Promise<Watched> {
    const times: number[] = [];
    const over = new AbortController();
    await this.#stalls();
    const calling = (async () => {
      while (!over.signal.aborted) {
        const start = performance.now();
        const response = await fetch(`${this.platform.url}/fn/other/honest`);
        await response.text();
        if (response.status !== 200) throw new Error(`the other tenant got ${response.status}`);
        times.push(performance.now() - start);
      }
    })();
    try {
      await action();
    } finally {
      over.abort();
      await calling;
    }
    const [gateway, worker] = await this.#stalls();
    return { gateway, worker, p99: percentile(times, 99), calls: times.length };
  }

  async #stalls(): Promise<[gateway: Stall, worker: Stall]> {
    return await Promise.all([this.#stallOf('gateway'), this.#stallOf('worker')]);
  }

  /** The longest stall since the last question. */
  async #stallOf(part: Part): Promise<Stall> {
    const asked = (this.#asked.get(part) ?? 0) + 1;
    this.#asked.set(part, asked);
    const pid = this.platform.pid(part);
    process.kill(pid, 'SIGUSR2');
    for (const giveUp = performance.now() + 10_000; performance.now() < giveUp; await sleep(5)) {
      const found = await readFile(join(this.#folder, `${pid}-${asked}`), 'utf8').catch(() => undefined);
      if (found !== undefined) return JSON.parse(found) as Stall;
    }
    throw new Error(`the ${part} does not say how long it stood still`);
  }

  async stop(): Promise<void> {
    await this.platform.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** The stall of an action in this process: shows that stalls are seen at all. */
export async function stallOf(action: () => unknown): Promise<Stall> {
  const longest = beat();
  await sleep(50);
  longest();
  action();
  await sleep(50);
  return longest();
}
