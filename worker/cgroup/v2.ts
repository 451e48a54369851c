/** Drives cgroup v2: one directory for all controllers. See the kernel's Documentation/admin-guide/cgroup-v2.rst. */
import { existsSync, mkdirSync, openSync } from 'node:fs';
import { native } from '../native/addon.ts';
import { CPU_PERIOD_US, type Cgroup, type CgroupDriver, type CgroupLimits } from './driver.ts';
import {
  closeAll,
  openForJoining,
  readFigure,
  readKeyed,
  readPids,
  removeWhenEmpty,
  sweepDirectory,
  writeControl,
} from './files.ts';
import { commonLimitsHere } from './reserve.ts';

/**
 * Processor weight of all sandboxes together; the platform's processes, in a sibling, have the default, 100. With both sides
 * busy, the platform gets three quarters of the processors. On v1 its three processes get as much beside the sandboxes.
 */
const SANDBOXES_WEIGHT = 33;

/** Microseconds of `cpu.stat` in a millisecond. */
const US_PER_MS = 1e3;

export class CgroupV2Driver implements CgroupDriver {
  readonly version = 2;
  readonly limitsSwap: boolean;
  readonly #parent: string;

  /**
   * `delegated`: the delegated directory. Sandboxes get a sub-tree of their own in it: a cgroup that passes controllers on may
   * hold no process itself, and the platform's processes are in a sibling.
   */
  constructor(delegated: string) {
    this.#parent = `${delegated}/sandboxes`;
    mkdirSync(this.#parent, { recursive: true });
    const controllers = '+cpu +memory +pids';
    writeControl(delegated, 'cgroup.subtree_control', controllers);
    writeControl(this.#parent, 'cgroup.subtree_control', controllers);
    const { memoryBytes, pids } = commonLimitsHere();
    writeControl(this.#parent, 'memory.max', memoryBytes);
    writeControl(this.#parent, 'pids.max', pids);
    writeControl(this.#parent, 'cpu.weight', SANDBOXES_WEIGHT);
    // A kernel without swap has no /proc/swaps, and nothing to limit.
    this.limitsSwap = existsSync(`${this.#parent}/memory.swap.max`) || !existsSync('/proc/swaps');
  }

  create(name: string, limits: CgroupLimits): Cgroup {
    const directory = `${this.#parent}/${name}`;
    mkdirSync(directory, { recursive: true });
    return new CgroupV2(directory, limits);
  }

  memory(): { used: number; limit: number } {
    return {
      used: readFigure(`${this.#parent}/memory.current`),
      limit: readFigure(`${this.#parent}/memory.max`),
    };
  }

  sweep(): void {
    sweepDirectory(this.#parent);
  }
}

class CgroupV2 implements Cgroup {
  readonly joinFds: number[];
  limits: CgroupLimits = { memoryBytes: 0, cpu: 0, pids: 0 };
  readonly #directory: string;
  readonly #cpuFd: number;
  readonly #memoryFd: number;
  readonly #pidsFd: number;
  readonly #oomFd: number;

  constructor(directory: string, limits: CgroupLimits) {
    this.#directory = directory;
    this.setLimits(limits);
    // The whole sandbox dies at once: half of a process tree is of no use.
    writeControl(directory, 'memory.oom.group', 1);
    if (existsSync(`${directory}/memory.swap.max`)) writeControl(directory, 'memory.swap.max', 0);
    this.joinFds = [openForJoining(`${directory}/cgroup.procs`)];
    this.#cpuFd = openSync(`${directory}/cpu.stat`, 'r');
    // memory.peak came with Linux 5.19; older kernels have only the current figure.
    const peak = existsSync(`${directory}/memory.peak`) ? 'memory.peak' : 'memory.current';
    this.#memoryFd = openSync(`${directory}/${peak}`, 'r');
    this.#pidsFd = openSync(`${directory}/pids.events`, 'r');
    this.#oomFd = openSync(`${directory}/memory.events`, 'r');
  }

  closeJoinFds(): void {
    closeAll(this.joinFds);
  }

  setLimits({ memoryBytes, cpu, pids }: CgroupLimits): void {
    writeControl(this.#directory, 'memory.max', memoryBytes);
    writeControl(this.#directory, 'cpu.max', `${Math.round(cpu * CPU_PERIOD_US)} ${CPU_PERIOD_US}`);
    writeControl(this.#directory, 'pids.max', pids);
    this.limits = { memoryBytes, cpu, pids };
  }

  cpuMs(): number {
    return native.readCounter(this.#cpuFd) / US_PER_MS;
  }

  memoryPeak(): number {
    return native.readCounter(this.#memoryFd);
  }

  oomKills(): number {
    return readKeyed(this.#oomFd, 'oom_kill');
  }

  pidsRefused(): number {
    return native.readCounter(this.#pidsFd);
  }

  kill(): void {
    try {
      writeControl(this.#directory, 'cgroup.kill', 1);
    } catch {
      // cgroup.kill came with Linux 5.14; before that, only the zygote kills.
    }
  }

  pids(): number[] {
    return readPids(this.#directory);
  }

  async remove(): Promise<void> {
    this.closeJoinFds();
    closeAll([this.#cpuFd, this.#memoryFd, this.#pidsFd, this.#oomFd]);
    await removeWhenEmpty([this.#directory]);
  }
}
