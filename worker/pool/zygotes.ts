/**
 * Keeps the zygotes of this worker: one for each runtime image and namespace in use, so that no two tenants' sandboxes are forks
 * of the same process. A zygote that dies is replaced at once. A worn one (zygote-wear.ts) serves until its successor is warm,
 * then ends with its last sandbox.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Runtime } from '#contract/functions/manifest.ts';
import { log } from '../process/log.ts';
import type { IdRange } from '../sandbox/zygote/subids.ts';
import { Zygote } from '../sandbox/zygote/zygote.ts';
import { Burst, isCrash, wornBy, type WearLimits } from './zygote-wear.ts';

export interface ZygotesOptions {
  readonly imagesDirectory: string;
  /** Directory with a sub-directory for the code of each namespace. */
  readonly codeDirectory: string;
  readonly uid: IdRange;
  readonly gid: IdRange;
  readonly rotation: WearLimits;
}

/** Delay before a zygote that died during its start is started again; it doubles from the first value up to the second. */
const FIRST_RESTART_MS = 50;
const LAST_RESTART_MS = 2_000;

export class Zygotes {
  readonly #options: ZygotesOptions;
  readonly #current = new Map<string, Zygote>();
  readonly #retired = new Set<Zygote>();
  /** Worn zygotes that still serve, and the successors that warm up beside them. */
  readonly #replacing = new Map<Zygote, Zygote>();
  readonly #crashes = new WeakMap<Zygote, Burst>();
  #stopping = false;
  /** Number of zygotes since the start. */
  started = 0;

  constructor(options: ZygotesOptions) {
    this.#options = options;
  }

  /** Returns a warm zygote. The first call for an image and a namespace takes as long as the runtime's start. */
  async get(runtime: Runtime, namespace: string): Promise<Zygote> {
    const key = keyOf(runtime, namespace);
    this.#replaceIfWorn(key);
    const zygote = this.#current.get(key) ?? this.#start(key);
    await zygote.ready;
    return zygote;
  }

  /** Number of zygotes that serve, warm up, or end with their last sandbox. */
  get live(): number {
    return this.#current.size + this.#replacing.size + this.#retired.size;
  }

  /** Namespaces that a zygote serves. */
  get namespaces(): Set<string> {
    return new Set([...this.#current.keys()].map(namespaceOf));
  }

  /** Starts no more sandboxes for the namespace: its zygotes end with their last sandbox. */
  giveUp(namespace: string): void {
    for (const [key, zygote] of this.#current) {
      if (namespaceOf(key) !== namespace) continue;
      this.#current.delete(key);
      this.#retire(zygote);
    }
  }

  /** Replaces zygotes that are worn by now, and ends replaced ones that have no sandbox left. */
  tend(): void {
    for (const key of this.#current.keys()) this.#replaceIfWorn(key);
    for (const zygote of this.#retired) {
      if (zygote.live > 0) continue;
      this.#retired.delete(zygote);
      void zygote.stop();
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const all = new Set([...this.#current.values(), ...this.#retired, ...this.#replacing.values()]);
    await Promise.all([...all].map((zygote) => zygote.stop()));
  }

  #replaceIfWorn(key: string): void {
    const { rotation } = this.#options;
    const old = this.#current.get(key);
    if (this.#stopping || !old?.alive || this.#replacing.has(old)) return;
    const now = Date.now();
    const crashes = this.#crashes.get(old)?.within(rotation.crashWindowMs, now) ?? 0;
    const wear = { forks: old.forks, ageMs: now - old.startedAt, crashes };
    const reason = wornBy(wear, rotation);
    if (reason) this.#replace(key, old, reason);
  }

  /** Starts a successor that warms up while the old zygote still serves. */
  #replace(key: string, old: Zygote, reason: string): void {
    log.info({ key, reason, forks: old.forks }, 'zygote is being replaced');
    const fresh = this.#start(key);
    this.#replacing.set(old, fresh);
    this.#current.set(key, old);
    const takeOver = (): void => {
      this.#replacing.delete(old);
      const serving = this.#current.get(key);
      // giveUp() has removed the namespace meanwhile.
      if (serving !== old && serving !== fresh) return this.#retire(fresh);
      if (!fresh.alive) return;
      this.#current.set(key, fresh);
      this.#retire(old);
    };
    fresh.ready.then(takeOver, () => this.#replacing.delete(old));
  }

  #retire(zygote: Zygote): void {
    if (!zygote.alive) return;
    zygote.retired = true;
    this.#retired.add(zygote);
  }

  #start(key: string, restartMs = FIRST_RESTART_MS): Zygote {
    const { imagesDirectory, codeDirectory, uid, gid } = this.#options;
    const [runtime = ''] = key.split('/');
    const crashes = new Burst(this.#options.rotation.crashes);
    const zygote = new Zygote({
      image: join(imagesDirectory, runtime),
      store: join(codeDirectory, namespaceOf(key)),
      uid,
      gid,
      onExit: (exit) => {
        if (isCrash(exit)) crashes.add(Date.now());
      },
    });
    this.started++;
    this.#crashes.set(zygote, crashes);
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
      const next = this.#replacing.get(zygote);
      if (next?.alive) {
        this.#current.set(key, next);
        return;
      }
      this.#current.delete(key);
      log.error({ key, forks: zygote.forks }, 'zygote ended; starting another');
      const pause = warm ? 0 : restartMs;
      if (pause > 0) await sleep(pause);
      if (!this.#stopping && !this.#current.has(key)) {
        this.#start(key, Math.min(pause * 2 || FIRST_RESTART_MS, LAST_RESTART_MS));
      }
    });
    return zygote;
  }
}

/** Neither a runtime's name nor a namespace contains a slash. */
function keyOf(runtime: Runtime, namespace: string): string {
  return `${runtime}/${namespace}`;
}

function namespaceOf(key: string): string {
  return key.slice(key.indexOf('/') + 1);
}
