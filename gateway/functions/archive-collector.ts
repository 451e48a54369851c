/**
 * Removes archives that no version of any function has named for a day, and the remains of unfinished uploads. Two gateways may
 * do this at once without harm; the lock only avoids double work.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import type { ArtifactStore } from '#storage/artifacts/artifacts.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import type { Log } from '#storage/log.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { UnnamedArchives } from './unnamed-archives.ts';

export interface ArchiveCollectorOptions {
  readonly commands: Redis;
  readonly functions: Pick<FunctionRepository, 'namedDigests'>;
  readonly artifacts: ArtifactStore;
  readonly unnamed: UnnamedArchives;
  readonly log: Log;
}

const INTERVAL_MS = 3_600_000;
/** Lifetime of the lock: less than the interval, so that the next round is not skipped. */
const LOCK_MS = 3_300_000;
/** Time for which archives without a version are kept. An operator has it to notice a Redis that does not fit the store. */
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
    // A gateway that restarts often would never reach its first hour.
    const { commands } = this.#options;
    commands.on('ready', () => void this.#round());
    if (commands.status === 'ready') void this.#round();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Runs one round, for the timer and for tests. Resolves to the removed digests. */
  async look(keptMs = KEPT_MS): Promise<string[]> {
    const { artifacts, unnamed, functions } = this.#options;
    // Archives are listed before the names, so that an archive that is named in between counts as named.
    const archives = await Array.fromAsync(artifacts.list());
    const named = await functions.namedDigests();
    const now = sharedNow();
    await unnamed.found(new Set(archives.filter((digest) => !named.has(digest))), now);
    const gone: string[] = [];
    for (const digest of await unnamed.since(now - keptMs)) {
      if (!(await unnamed.take(digest, now - keptMs))) continue;
      // After an error the archive may be there or not. It cannot be claimed until the mark of its removal expires.
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
      // Redis or the store is unavailable; the next round tries again.
      log.info({ error: String(error) }, 'archives that no version names were not looked for');
    } finally {
      this.#busy = false;
    }
  }
}
