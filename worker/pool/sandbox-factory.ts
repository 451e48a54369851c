/** Makes sandboxes out of a number, a cgroup and a fork each, and takes the first two back when a sandbox has ended. */
import { randomBytes } from 'node:crypto';
import type { VersionSettings } from '#contract/functions/settings.ts';
import type { CgroupDriver } from '../cgroup/driver.ts';
import { cgroupName } from '../cgroup/files.ts';
import { log } from '../process/log.ts';
import type { SandboxEnd } from '#contract/platform/sandbox-end.ts';
import { Sandbox } from '../sandbox/sandbox.ts';
import type { FileLimits } from '../sandbox/specialise.ts';
import { SandboxNumbers } from '../sandbox/zygote/sandbox-numbers.ts';
import type { Zygote } from '../sandbox/zygote/zygote.ts';

const MB = 1024 * 1024;
/** Limits of a sandbox without a function: enough to wait in, and a bound on the damage of a bug. */
const PREPARED_LIMITS = { memoryBytes: 64 * MB, cpu: 1, pids: 16 };
const PREPARED_SCRATCH_MB = 16;

/** Reason for a start: a function needs the sandbox now, or the sandbox will wait for one. */
export type StartReason = 'on_demand' | 'prepared';

export interface SandboxFactoryOptions {
  readonly cgroups: CgroupDriver;
  /** Upper bounds for any function: processes and threads, and MB of /tmp. */
  readonly maxPids: number;
  readonly maxTmpMb: number;
  /** Upper bound on queued signals and POSIX timers of each sandbox. */
  readonly pendingSignals: number;
  /** Called for each prepared sandbox with the time of its fork in milliseconds. */
  readonly onForked?: ((ms: number) => void) | undefined;
}

export class SandboxFactory {
  readonly #options: SandboxFactoryOptions;
  readonly #numbers = new SandboxNumbers();
  readonly #live = new Set<Sandbox>();
  /** A promise for each sandbox that is not fully removed; it settles when nothing of the sandbox is left. */
  readonly #leaving = new Set<Promise<void>>();
  /** Sandboxes since the start, by reason. */
  readonly started = new Map<StartReason, number>();
  /** Ended sandboxes since the start, by the reason of their end. */
  readonly ended = new Map<SandboxEnd, number>();

  constructor(options: SandboxFactoryOptions) {
    this.#options = options;
  }

  /** Number of live sandboxes in any state, those that are ending included. */
  get live(): number {
    return this.#live.size;
  }

  /** Starts a sandbox. `prepared` settles when it waits for a function, but the order to run one may be sent before. */
  start(zygote: Zygote, reason: StartReason = 'on_demand'): Sandbox {
    const { cgroups, onForked } = this.#options;
    const begun = performance.now();
    const slot = this.#numbers.take();
    const id = randomBytes(6).toString('hex');
    const cgroup = cgroups.create(cgroupName(id), PREPARED_LIMITS);
    let sandbox: Sandbox;
    try {
      sandbox = new Sandbox({ id, slot, scratchMb: PREPARED_SCRATCH_MB, cgroup, zygote });
    } catch (error) {
      this.#numbers.free(slot);
      void cgroup.remove().catch(() => undefined);
      throw error;
    }
    this.started.set(reason, (this.started.get(reason) ?? 0) + 1);
    this.#live.add(sandbox);
    // A sandbox that ends instead is counted below.
    if (onForked)
      sandbox.prepared.then(
        () => onForked(performance.now() - begun),
        () => undefined,
      );
    const gone = sandbox.ended.then(async () => {
      this.#live.delete(sandbox);
      const why = sandbox.end ?? 'platform_error';
      this.ended.set(why, (this.ended.get(why) ?? 0) + 1);
      this.#numbers.free(slot);
      await cgroup
        .remove()
        .catch((error: unknown) => log.warn({ error, id }, 'a cgroup could not be removed'));
    });
    this.#leaving.add(gone);
    void gone.then(() => this.#leaving.delete(gone));
    return sandbox;
  }

  /** Ends the sandboxes, loading ones included, of which the kernel has killed a process for memory. */
  endOutOfMemory(): void {
    for (const sandbox of this.#live) sandbox.endIfOutOfMemory(0);
  }

  /** Settles when all sandboxes have ended and their cgroups are removed. */
  async emptied(): Promise<void> {
    await Promise.all(this.#leaving);
  }

  /**
   * Sets the limits of its function on a prepared sandbox, before the sandbox learns which function that is. Returns the limits
   * that the sandbox has to set itself.
   */
  limit(sandbox: Sandbox, settings: VersionSettings): FileLimits {
    const { maxPids, maxTmpMb, pendingSignals } = this.#options;
    const { memory, cpu, pids, tmpSize, tmpFiles, tmpPrograms, openFiles } = settings;
    sandbox.cgroup.setLimits({ memoryBytes: memory * MB, cpu, pids: Math.min(pids, maxPids) });
    const files = { tmpSize: Math.min(tmpSize, maxTmpMb), tmpFiles, tmpPrograms, openFiles, pendingSignals };
    return { ...files, memory, cpu };
  }
}
