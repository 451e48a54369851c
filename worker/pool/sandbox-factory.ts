/** Makes sandboxes: a slot, a cgroup and a fork each; and takes the three back when the sandbox has ended. */
import { randomBytes } from 'node:crypto';
import type { Manifest } from '#contract/manifest.ts';
import type { CgroupDriver } from '../cgroup/driver.ts';
import { cgroupName } from '../cgroup/files.ts';
import { log } from '../log.ts';
import type { SandboxEnd } from '../sandbox/end-reason.ts';
import { Sandbox } from '../sandbox/sandbox.ts';
import type { FileLimits } from '../sandbox/start.ts';
import { Slots } from '../sandbox/slots.ts';
import type { Zygote } from '../sandbox/zygote.ts';

const MB = 1024 * 1024;
/** A prepared sandbox has no function yet; this is enough to wait in, and bounds what a mistake could take. */
const PREPARED_LIMITS = { memoryBytes: 64 * MB, cpu: 1, pids: 16 };
const PREPARED_SCRATCH_MB = 16;

/** A function needs it now, or it is to wait for one that will. */
export type StartReason = 'on_demand' | 'prepared';

export interface SandboxFactoryOptions {
  readonly cgroups: CgroupDriver;
  /** The most that any function gets: processes and threads, and MB of /tmp. */
  readonly maxPids: number;
  readonly maxTmpMb: number;
  /** Queued signals and POSIX timers of each sandbox. */
  readonly pendingSignals: number;
  /** Told of each fork, when the sandbox is prepared: milliseconds that it took. */
  readonly onForked?: ((ms: number) => void) | undefined;
}

export class SandboxFactory {
  readonly #options: SandboxFactoryOptions;
  readonly #slots = new Slots();
  readonly #live = new Set<Sandbox>();
  /** One for each sandbox of which something is left: settles when nothing is. */
  readonly #leaving = new Set<Promise<void>>();
  /** Sandboxes since the start, by what for. */
  readonly started = new Map<StartReason, number>();
  /** Those of them that are gone, by why. */
  readonly ended = new Map<SandboxEnd, number>();

  constructor(options: SandboxFactoryOptions) {
    this.#options = options;
  }

  /** Sandboxes alive in whatever state, those that are ending included. */
  get live(): number {
    return this.#live.size;
  }

  /** Starts a sandbox; its `prepared` says when it waits for a function, but it may be told which one at once. */
  start(zygote: Zygote, reason: StartReason = 'on_demand'): Sandbox {
    const { cgroups, onForked } = this.#options;
    const begun = performance.now();
    const slot = this.#slots.take();
    const id = randomBytes(6).toString('hex');
    const cgroup = cgroups.create(cgroupName(id), PREPARED_LIMITS);
    let sandbox: Sandbox;
    try {
      sandbox = new Sandbox({ id, slot, scratchMb: PREPARED_SCRATCH_MB, cgroup, zygote });
    } catch (error) {
      this.#slots.free(slot);
      void cgroup.remove().catch(() => undefined);
      throw error;
    }
    this.started.set(reason, (this.started.get(reason) ?? 0) + 1);
    this.#live.add(sandbox);
    // One that has ended instead is counted below.
    if (onForked)
      sandbox.prepared.then(
        () => onForked(performance.now() - begun),
        () => undefined,
      );
    const gone = sandbox.ended.then(async () => {
      this.#live.delete(sandbox);
      const why = sandbox.end ?? 'platform_error';
      this.ended.set(why, (this.ended.get(why) ?? 0) + 1);
      this.#slots.free(slot);
      await cgroup
        .remove()
        .catch((error: unknown) => log.warn({ error, id }, 'a cgroup could not be removed'));
    });
    this.#leaving.add(gone);
    void gone.then(() => this.#leaving.delete(gone));
    return sandbox;
  }

  /** Ends those of which the kernel has ended a process for memory, those included that load. */
  endOutOfMemory(): void {
    for (const sandbox of this.#live) sandbox.endIfOutOfMemory(0);
  }

  /** Settles when all sandboxes have ended and their cgroups are removed. */
  async emptied(): Promise<void> {
    await Promise.all(this.#leaving);
  }

  /**
   * Gives a prepared sandbox the limits of its function, before it learns which one that is; returns those that the
   * sandbox itself has to put into force.
   */
  limit(sandbox: Sandbox, manifest: Manifest): FileLimits {
    const { maxPids, maxTmpMb, pendingSignals } = this.#options;
    const { memory, cpu, pids, tmpSize, tmpFiles, openFiles } = manifest;
    sandbox.cgroup.setLimits({ memoryBytes: memory * MB, cpu, pids: Math.min(pids, maxPids) });
    return { tmpSize: Math.min(tmpSize, maxTmpMb), tmpFiles, openFiles, pendingSignals };
  }
}
