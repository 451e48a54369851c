/**
 * Drives cgroup v1: a directory in each of cpu, cpuacct, memory and pids. See cgroups(7) and the kernel's cgroup-v1 documents.
 */
import { existsSync, mkdirSync, openSync, realpathSync } from 'node:fs';
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

/** Name of the directory of all sandboxes. */
const SANDBOXES = 'sandboxes';

const CONTROLLERS = ['cpu', 'cpuacct', 'memory', 'pids'] as const;
type Controller = (typeof CONTROLLERS)[number];

/**
 * Share of the memory limit that a sandbox may use for socket buffers, on top of the limit. v1 counts these apart from all other
 * memory, and only for a cgroup with a limit for them. Without one, a sandbox could fill the host's memory over its own loopback,
 * and use up the memory of all the host's TCP.
 */
const SOCKET_SHARE = 1 / 8;
/** File of the limit on memory and swap together. */
const SWAP_LIMIT = 'memory.memsw.limit_in_bytes';

/** Nanoseconds of `cpuacct.usage` in a millisecond. */
const NS_PER_MS = 1e6;

export class CgroupV1Driver implements CgroupDriver {
  readonly version = 1;
  readonly limitsSwap: boolean;
  readonly #parents: Record<Controller, string>;

  /**
   * `root`: mount point of the hierarchies; `path`: the delegated directory in each of them. All sandboxes are below one
   * directory in it, which has their common limits. That directory has the processor weight of a single process (1024 shares).
   * Each of the platform's own processes, which stay outside, has the same.
   */
  constructor(root: string, path: string) {
    const parent = (controller: Controller): string =>
      `${realpathSync(`${root}/${controller}`)}/${path}/${SANDBOXES}`;
    this.#parents = {
      cpu: parent('cpu'),
      cpuacct: parent('cpuacct'),
      memory: parent('memory'),
      pids: parent('pids'),
    };
    for (const directory of Object.values(this.#parents)) mkdirSync(directory, { recursive: true });
    const { memoryBytes, pids } = commonLimitsHere();
    writeControl(this.#parents.memory, 'memory.limit_in_bytes', memoryBytes);
    writeControl(this.#parents.pids, 'pids.max', pids);
    this.limitsSwap = existsSync(`${this.#parents.memory}/${SWAP_LIMIT}`);
  }

  create(name: string, limits: CgroupLimits): Cgroup {
    const directories = { ...this.#parents };
    for (const controller of CONTROLLERS) {
      directories[controller] += `/${name}`;
      mkdirSync(directories[controller], { recursive: true });
    }
    return new CgroupV1(directories, limits);
  }

  memory(): { used: number; limit: number } {
    const { memory } = this.#parents;
    return {
      used: readFigure(`${memory}/memory.usage_in_bytes`),
      limit: readFigure(`${memory}/memory.limit_in_bytes`),
    };
  }

  sweep(): void {
    for (const controller of CONTROLLERS) sweepDirectory(this.#parents[controller]);
  }
}

class CgroupV1 implements Cgroup {
  readonly joinFds: number[];
  readonly #directories: Record<Controller, string>;
  readonly #cpuFd: number;
  readonly #memoryFd: number;
  readonly #pidsFd: number;
  readonly #oomFd: number;
  limits: CgroupLimits = { memoryBytes: 0, cpu: 0, pids: 0 };

  constructor(directories: Record<Controller, string>, limits: CgroupLimits) {
    this.#directories = directories;
    this.setLimits(limits);
    // cpu and cpuacct are one directory on most hosts.
    const distinct = [...new Set(Object.values(directories))];
    // `tasks` and not `cgroup.procs`: a thread that moves only itself needs no lock on all process groups of the host. That saves
    // 10 to 20 ms of waiting for a grace period of RCU (cgroup_procs_write_start() in the kernel). A sandbox has one thread when
    // it joins, so it moves whole.
    this.joinFds = distinct.map((directory) => openForJoining(`${directory}/tasks`));
    this.#cpuFd = openSync(`${directories.cpuacct}/cpuacct.usage`, 'r');
    this.#memoryFd = openSync(`${directories.memory}/memory.max_usage_in_bytes`, 'r');
    this.#pidsFd = openSync(`${directories.pids}/pids.events`, 'r');
    this.#oomFd = openSync(`${directories.memory}/memory.oom_control`, 'r');
  }

  closeJoinFds(): void {
    closeAll(this.joinFds);
  }

  setLimits({ memoryBytes, cpu, pids }: CgroupLimits): void {
    const { memory } = this.#directories;
    const hasSwap = existsSync(`${memory}/${SWAP_LIMIT}`);
    // The limit with swap may never be below the one without, so it grows first and shrinks last.
    const known = this.limits.memoryBytes > 0;
    const grows = memoryBytes > this.limits.memoryBytes;
    if (hasSwap && grows && known) writeControl(memory, SWAP_LIMIT, memoryBytes);
    writeControl(memory, 'memory.limit_in_bytes', memoryBytes);
    if (hasSwap && !(grows && known)) writeControl(memory, SWAP_LIMIT, memoryBytes);
    const sockets = 'memory.kmem.tcp.limit_in_bytes';
    if (existsSync(`${memory}/${sockets}`))
      writeControl(memory, sockets, Math.round(memoryBytes * SOCKET_SHARE));
    writeControl(this.#directories.cpu, 'cpu.cfs_quota_us', Math.round(cpu * CPU_PERIOD_US));
    writeControl(this.#directories.pids, 'pids.max', pids);
    this.limits = { memoryBytes, cpu, pids };
  }

  cpuMs(): number {
    return native.readCounter(this.#cpuFd) / NS_PER_MS;
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

  /** v1 has no file for this, and a signal by number could hit a process that has reused the number. */
  kill(): void {}

  pids(): number[] {
    return readPids(this.#directories.pids);
  }

  async remove(): Promise<void> {
    this.closeJoinFds();
    closeAll([this.#cpuFd, this.#memoryFd, this.#pidsFd, this.#oomFd]);
    await removeWhenEmpty([...new Set(Object.values(this.#directories))]);
  }
}
