/**
 * Builds the frame that gives a prepared sandbox its function while it still runs C. Also defines the error of a sandbox that
 * fails to start.
 */
import { ChannelKind, encodeChannelFrame, putSpecialise } from '#contract/wire/channel.ts';

/** Error of a sandbox that could not be made or could not load its function; `payload` is the sandbox's own report, unchecked. */
export class SandboxStartError extends Error {
  override readonly name = 'SandboxStartError';
  readonly payload: Buffer | undefined;
  constructor(message: string, payload?: Buffer) {
    super(message);
    this.payload = payload;
  }
}

/** Limits that a sandbox sets itself, because no cgroup does, and those that it only tells. */
export interface FileLimits {
  /** Size in MB, and inodes, of /tmp. */
  readonly tmpSize: number;
  readonly tmpFiles: number;
  /** Upper bound on descriptors of a process. */
  readonly openFiles: number;
  /** Upper bound on queued signals and POSIX timers of the sandbox. */
  readonly pendingSignals: number;
  /** May programs in /tmp be run? */
  readonly tmpPrograms: boolean;
  /** The limits of its cgroup, in MB and in cores, which the sandbox tells to the programs in it. */
  readonly memory: number;
  readonly cpu: number;
}

export const DEFAULT_FILE_LIMITS: FileLimits = {
  tmpSize: 64,
  tmpFiles: 16_384,
  openFiles: 1_024,
  pendingSignals: 32,
  tmpPrograms: false,
  memory: 128,
  cpu: 1,
};

/** Builds the SPECIALISE frame of contract/wire/layouts.ts. `code`: name of its directory below the namespace's store. */
export function specialiseFrame(code: string, hostname: string, limits: FileLimits): Buffer {
  const { tmpSize: tmpMb, tmpFiles: tmpInodes, openFiles, pendingSignals } = limits;
  const order = {
    code,
    hostname,
    tmpMb,
    tmpInodes,
    openFiles,
    pendingSignals,
    memoryMb: limits.memory,
    cpuPercent: Math.ceil(limits.cpu * 100),
    tmpPrograms: limits.tmpPrograms ? 1 : 0,
  };
  return encodeChannelFrame(ChannelKind.SPECIALISE, 0, ...putSpecialise(order));
}
