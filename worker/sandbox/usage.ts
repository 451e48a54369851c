/** Counts the resources of one sandbox: read from its cgroup while it lives, kept at its end, because the cgroup goes then. */
import type { Cgroup } from '../cgroup/driver.ts';
import { IdleMeter } from '../cgroup/idle-cpu.ts';

/** Resources that all processes of a sandbox have used since it was made. */
export interface SandboxUsage {
  readonly cpuMs: number;
  readonly memoryPeak: number;
  /** Processes that the kernel killed for memory. */
  readonly oomKills: number;
  /** Processes and threads that the kernel refused to create. */
  readonly pidsRefused: number;
}

export class Usage {
  readonly #cgroup: Cgroup;
  readonly #idle = new IdleMeter();
  #final: SandboxUsage | undefined;
  /** Peak memory when it was read last. */
  #peak = 0;
  #pidsRefusedTold = 0;

  constructor(cgroup: Cgroup) {
    this.#cgroup = cgroup;
  }

  /** Returns the usage now, or at the sandbox's end. */
  get now(): SandboxUsage {
    const cgroup = this.#cgroup;
    return (
      this.#final ?? {
        cpuMs: cgroup.cpuMs(),
        memoryPeak: cgroup.memoryPeak(),
        oomKills: cgroup.oomKills(),
        pidsRefused: cgroup.pidsRefused(),
      }
    );
  }

  /** Keeps the last figures. To be called before the end is reported, because the cgroup is removed then. */
  end(): void {
    this.#final = this.now;
    this.#idle.saw(this.#final.cpuMs);
  }

  /** Returns the processes and threads refused since the last call. */
  takePidsRefused(): number {
    const refused = this.#final?.pidsRefused ?? this.#cgroup.pidsRefused();
    const fresh = refused - this.#pidsRefusedTold;
    if (fresh > 0) this.#pidsRefusedTold = refused;
    return Math.max(0, fresh);
  }

  cpuMs(): number {
    const ms = this.#final?.cpuMs ?? this.#cgroup.cpuMs();
    this.#idle.saw(ms);
    return ms;
  }

  /** Marks that an invocation begins. */
  begins(): void {
    this.#idle.begins();
  }

  /** Marks that no invocation runs: processor time counts as idle until the next one begins. */
  rests(): void {
    this.#idle.rests(() => this.#final?.cpuMs ?? this.#cgroup.cpuMs());
  }

  /** Processor time in milliseconds while no invocation ran, as far as it was measured. */
  get idleCpuMs(): number {
    return this.#idle.ms;
  }

  memoryPeak(): number {
    return this.#final?.memoryPeak ?? (this.#peak = this.#cgroup.memoryPeak());
  }

  /**
   * True if the kernel has killed a process of the live sandbox for memory. The last known peak is compared with the share `least` of
   * the limit first. That spares nearly all sandboxes the read of one more file.
   */
  isOutOfMemory(least: number): boolean {
    return this.#peak >= this.#cgroup.limits.memoryBytes * least && this.#cgroup.oomKills() > 0;
  }
}
