/**
 * Removes archives that no version of any function has named for a day, and what uploads that never ended have left. Nothing is
 * lost when two gateways do it at once; a lock only keeps them from all doing the same.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import type { ArtifactStore } from '#storage/artifacts/artifacts.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import type { Log } from '#storage/log.ts';
import { namedDigests } from '#storage/artifacts/named-digests.ts';
import type { UnnamedArchives } from './unnamed-archives.ts';

export interface ArchiveCollectorOptions {
  readonly commands: Redis;
  readonly artifacts: ArtifactStore;
  readonly unnamed: UnnamedArchives;
  readonly log: Log;
}

const INTERVAL_MS = 3_600_000;
/** For less than the interval, so that the next round is not left out. */
const LOCK_MS = 3_300_000;
/** Also the time that somebody has to notice that gateways were started with the store, but not with the Redis, of another day. */
const KEPT_MS = 24 * 3_600_000;

export class ArchiveCollector {
  readonly #options: ArchiveCollectorOptions;
  #timer: NodeJS.Timeout | undefined;
  #busy = false;

  constructor(options: ArchiveCollectorOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#round(), INTERVAL_MS);
    // A gateway that is started often would never come to its first hour.
    const { commands } = this.#options;
    commands.on('ready', () => void this.#round());
    if (commands.status === 'ready') void this.#round();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Looks once. Also what the timer does, and what tests call. Resolves to the digests that are gone. */
  async look(keptMs = KEPT_MS): Promise<string[]> {
    const { artifacts, unnamed, commands } = this.#options;
    // The archives first: one that gets its name in between is then found with it.
    const archives = await Array.fromAsync(artifacts.list());
    const named = await namedDigests(commands);
    const now = sharedNow();
    await unnamed.found(new Set(archives.filter((digest) => !named.has(digest))), now);
    const gone: string[] = [];
    for (const digest of await unnamed.since(now - keptMs)) {
      if (!(await unnamed.take(digest, now - keptMs))) continue;
      // One that fails is not known to be there still: nobody may claim it until that must have shown.
      await artifacts.remove(digest);
      await unnamed.removed(digest);
      gone.push(digest);
    }
    await artifacts.sweep(keptMs);
    return gone;
  }

  async #round(): Promise<void> {
    const { commands, log } = this.#options;
    if (this.#busy) return;
    this.#busy = true;
    try {
      const ours = await commands.set(keys.archiveCollector(), '1', 'PX', LOCK_MS, 'NX');
      if (ours === null) return;
      const gone = await this.look();
      if (gone.length > 0) log.info({ archives: gone.length }, 'archives that no version names were removed');
    } catch (error) {
      // Redis or the store is away; the next round does it.
      log.info({ error: String(error) }, 'archives that no version names were not looked for');
    } finally {
      this.#busy = false;
    }
  }
}
