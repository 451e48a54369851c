/**
 * The cgroup of a sandbox, behind one interface for cgroup v1 (one hierarchy a controller) and v2 (one for all). The
 * worker writes the limits before the sandbox exists and hands over open files to which the sandbox writes itself.
 */

export interface CgroupLimits {
  readonly memoryBytes: number;
  /** Cores, as a share: 0.5 is half of one. */
  readonly cpu: number;
  readonly pids: number;
}

export interface Cgroup {
  /** An open file of each hierarchy: who writes 0 to it has joined. The caller sends them along, then calls closeJoinFds(). */
  readonly joinFds: readonly number[];
  closeJoinFds(): void;
  /** Limits may change while the sandbox lives: a prepared one learns its function late. */
  setLimits(limits: CgroupLimits): void;
  /** Those that the kernel has taken last. */
  readonly limits: CgroupLimits;
  /** Processor time of all its processes so far, in milliseconds. */
  cpuMs(): number;
  /** Highest memory so far, in bytes. */
  memoryPeak(): number;
  /** Processes of it that the kernel has killed for memory. */
  oomKills(): number;
  /** Processes and threads that the kernel has refused because of `pids`. */
  pidsRefused(): number;
  /** Ends all its processes at once, where the kernel has a file for that; Sandbox.kill() does not rely on it. */
  kill(): void;
  /** Processes in it now, as the host numbers them. */
  pids(): number[];
  /** Removes the directories, once the processes are gone. Tries again later while the kernel still counts some. */
  remove(): Promise<void>;
}

export interface CgroupDriver {
  readonly version: 1 | 2;
  /** Swap is counted or forbidden beside memory. */
  readonly limitsSwap: boolean;
  create(name: string, limits: CgroupLimits): Cgroup;
  /** Bytes that all sandboxes have together now, and may have: of all workers to which the same cgroup was handed over. */
  memory(): { readonly used: number; readonly limit: number };
  /** Removes what an earlier worker of this id left behind. */
  sweep(): void;
}

/** Period of the processor quota, in microseconds; the kernel's default. */
export const CPU_PERIOD_US = 100_000;
