/**
 * The zygotes of this worker: one for each runtime image and namespace in use, so that no two tenants' sandboxes are
 * forks of the same process. A zygote that dies is replaced at once; one that has forked enough is replaced and then
 * ends with its last sandbox.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Runtime } from '#contract/manifest.ts';
import { log } from './log.ts';
import { shouldRotate } from './pool/policy.ts';
import type { IdRange } from './sandbox/subids.ts';
import { Zygote } from './sandbox/zygote.ts';

export interface ZygotesOptions {
  readonly imagesDirectory: string;
  /** Code of a namespace lies in a sub-directory of this. */
  readonly codeDirectory: string;
  readonly uid: IdRange;
  readonly gid: IdRange;
  readonly rotation: { readonly forks: number; readonly ageMs: number };
}

/** A zygote that dies while it starts is tried again after this, doubling up to the second. */
const FIRST_RESTART_MS = 50;
const LAST_RESTART_MS = 2_000;

export class Zygotes {
  readonly #options: ZygotesOptions;
  readonly #current = new Map<string, Zygote>();
  readonly #retired = new Set<Zygote>();
  #stopping = false;

  constructor(options: ZygotesOptions) {
    this.#options = options;
  }

  /** A warm zygote. The first call for an image and a namespace takes as long as the runtime's start. */
  async get(runtime: Runtime, namespace: string): Promise<Zygote> {
    const key = `${runtime}/${namespace}`;
    let zygote = this.#current.get(key);
    if (zygote?.alive && this.#isWorn(zygote)) this.#replace(key, zygote, runtime, namespace);
    zygote = this.#current.get(key) ?? this.#start(key, runtime, namespace);
    await zygote.ready;
    return zygote;
  }

  /** Ends zygotes that were replaced and have no sandbox left. */
  retire(): void {
    for (const zygote of this.#retired) {
      if (zygote.live > 0) continue;
      this.#retired.delete(zygote);
      void zygote.stop();
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all([...this.#current.values(), ...this.#retired].map((zygote) => zygote.stop()));
  }

  #isWorn(zygote: Zygote): boolean {
    return shouldRotate(
      { forks: zygote.forks, ageMs: Date.now() - zygote.startedAt },
      this.#options.rotation,
    );
  }

  /** The new one warms up while the old one still serves. */
  #replace(key: string, old: Zygote, runtime: Runtime, namespace: string): void {
    if (this.#retired.has(old)) return;
    this.#retired.add(old);
    log.info({ key, forks: old.forks }, 'zygote is being replaced');
    const fresh = this.#start(key, runtime, namespace);
    this.#current.set(key, old);
    const takeOver = (): void => {
      if (fresh.alive) this.#current.set(key, fresh);
    };
    fresh.ready.then(takeOver, () => this.#retired.delete(old));
  }

  #start(key: string, runtime: Runtime, namespace: string, restartMs = FIRST_RESTART_MS): Zygote {
    const { imagesDirectory, codeDirectory, uid, gid } = this.#options;
    const zygote = new Zygote({
      image: join(imagesDirectory, runtime),
      store: join(codeDirectory, namespace),
      uid,
      gid,
    });
    this.#current.set(key, zygote);
    let warm = false;
    zygote.ready.then(
      () => {
        warm = true;
      },
      () => undefined,
    );
    void zygote.ended.then(async () => {
      if (this.#stopping || this.#current.get(key) !== zygote) return;
      this.#current.delete(key);
      log.error({ key, forks: zygote.forks }, 'zygote ended; starting another');
      const pause = warm ? 0 : restartMs;
      if (pause > 0) await sleep(pause);
      if (!this.#stopping && !this.#current.has(key)) {
        this.#start(key, runtime, namespace, Math.min(pause * 2 || FIRST_RESTART_MS, LAST_RESTART_MS));
      }
    });
    return zygote;
  }
}
