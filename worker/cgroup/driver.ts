/**
 * Defines a sandbox's cgroup as one interface for cgroup v1 (one hierarchy per controller) and v2 (one for all). The worker
 * writes the limits before the sandbox exists, and passes open files through which the sandbox joins.
 */

export interface CgroupLimits {
  readonly memoryBytes: number;
  /** Processors: 0.5 is half of one. */
  readonly cpu: number;
  readonly pids: number;
}

export interface Cgroup {
  /**
   * An open file of each hierarchy: a process that writes 0 to it joins. The caller sends them along, then calls closeJoinFds().
   */
  readonly joinFds: readonly number[];
  closeJoinFds(): void;
  /** Sets the limits; they may change while the sandbox lives, because a prepared one learns its function late. */
  setLimits(limits: CgroupLimits): void;
  /** The limits that the kernel accepted last. */
  readonly limits: CgroupLimits;
  /** Processor time of all its processes until now, in milliseconds. */
  cpuMs(): number;
  /** Highest memory until now, in bytes. */
  memoryPeak(): number;
  /** Number of its processes that the kernel killed for memory. */
  oomKills(): number;
  /** Number of processes and threads that the kernel refused because of `pids`. */
  pidsRefused(): number;
  /** Kills all its processes at once, where the kernel has a file for that; Sandbox.kill() does not rely on it. */
  kill(): void;
  /** Its present processes, by the host's numbers. */
  pids(): number[];
  /** Removes the directories once the processes are gone; retries while the kernel still counts some. */
  remove(): Promise<void>;
}

export interface CgroupDriver {
  readonly version: 1 | 2;
  /** True when swap is counted or forbidden beside memory. */
  readonly limitsSwap: boolean;
  create(name: string, limits: CgroupLimits): Cgroup;
  /** Memory of all sandboxes together in bytes, and its limit, over all workers that share the delegated cgroup. */
  memory(): { readonly used: number; readonly limit: number };
  /** Removes the cgroups that earlier workers of this id left behind. */
  sweep(): void;
}

/** Period of the processor quota, in microseconds; the kernel's default. */
export const CPU_PERIOD_US = 100_000;
