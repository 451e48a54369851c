/**
 * Makes and stores the isolation receipts (contract/functions/isolation.ts) of this worker's sandboxes, one for each sandbox. A
 * receipt combines the sandbox's own report with the limits that the kernel has accepted. Records of invocations name the
 * sandbox.
 */
import type { Redis } from 'ioredis';
import { FIRST_SANDBOX_UID } from '#contract/wire/control.ts';
import type { IsolationReceipt } from '#contract/functions/isolation.ts';
import { keys, RECEIPT_REFRESH_S, RECEIPT_TTL_S } from '#contract/platform/keys.ts';
import type { CgroupDriver } from '../cgroup/driver.ts';
import type { LoadedVersion } from '../code/version-cache.ts';
import type { IsolationFacts } from '../sandbox/isolation-facts.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { IdRange } from '../sandbox/zygote/subids.ts';

/** The only user id inside a sandbox; INNER_ID in sandbox/sandbox.c. */
const INNER_UID = 1_000;

export interface ReceiptsOptions {
  readonly redis: Redis;
  readonly workerId: string;
  readonly cgroups: CgroupDriver;
  readonly uid: IdRange;
}

export class Receipts {
  readonly #options: ReceiptsOptions;
  /** Receipts of live sandboxes as JSON, by Redis key. */
  readonly #live = new Map<string, string>();
  #refreshing: NodeJS.Timeout | undefined;

  constructor(options: ReceiptsOptions) {
    this.#options = options;
  }

  /** Rewrites receipts regularly: a receipt must outlive the record of the last invocation, and a sandbox may live for long. */
  start(): void {
    this.#refreshing = setInterval(() => {
      for (const [key, json] of this.#live) this.#set(key, json);
    }, RECEIPT_REFRESH_S * 1000);
  }

  stop(): void {
    clearInterval(this.#refreshing);
  }

  make(sandbox: Sandbox, facts: IsolationFacts, version: LoadedVersion): IsolationReceipt {
    const { workerId, cgroups, uid } = this.#options;
    const { memoryBytes, cpu, pids } = sandbox.cgroup.limits;
    return {
      sandbox: sandbox.id,
      worker: workerId,
      at: Date.now(),
      mode: version.settings.isolation.mode,
      namespaces: facts.namespaces,
      // The launcher maps 1 to the first subordinate id.
      uid: { inside: INNER_UID, host: uid.base + FIRST_SANDBOX_UID + sandbox.slot - 1 },
      seccomp: facts.seccompFilter,
      landlock: facts.landlockAbi,
      branchSpeculation: facts.branchSpeculation,
      cgroup: { version: cgroups.version, memoryBytes, swapLimited: cgroups.limitsSwap, cpu, pids },
      network: sandbox.network ? 'egress' : 'none',
      image: sandbox.zygote.imageDigest,
      code: version.digest,
    };
  }

  /** Stores the receipt of a sandbox before its first invocation, without waiting for Redis. */
  store(sandbox: Sandbox, version: LoadedVersion): void {
    if (!sandbox.isolation) return;
    const key = keys.isolation(this.#options.workerId, sandbox.id);
    const json = JSON.stringify(this.make(sandbox, sandbox.isolation, version));
    this.#set(key, json);
    this.#live.set(key, json);
    void sandbox.ended.then(() => this.#live.delete(key));
  }

  #set(key: string, json: string): void {
    // Without Redis, no invocation arrives whose record could name this sandbox, except those already on their way.
    this.#options.redis.set(key, json, 'EX', RECEIPT_TTL_S).catch(() => undefined);
  }
}
