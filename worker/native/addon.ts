/** The system calls that Node does not offer; see worker/worker_addon.c. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

declare const page: unique symbol;
/** A handle that only the addon can read. */
export interface TurnsPage {
  readonly [page]: true;
}

export interface NativeAddon {
  /** Two connected stream sockets, close-on-exec. */
  socketpair(): [number, number];
  /** Read end and write end, close-on-exec. */
  pipe(): [number, number];
  /** Makes the kernel refuse descriptors that are sent to this unix socket. False before Linux 6.16. */
  refuseDescriptors(fd: number): boolean;
  /** A count in a page of its own, and the descriptor by which a sandbox maps it; see sandbox/turns.h. */
  makeTurns(): [theirs: number, turns: TurnsPage];
  /** Adds one to the count. */
  postTurn(turns: TurnsPage): void;
  /** Takes up to `max` off the count, and gives how many. */
  takeTurnsBack(turns: TurnsPage, max: number): number;
  /** Unmaps the page; a later call with it does nothing. */
  closeTurns(turns: TurnsPage): void;
  /** One sendmsg(2) with SCM_RIGHTS. Throws when the other side has gone. */
  sendWithDescriptors(fd: number, bytes: Buffer, fds: readonly number[]): void;
  /** flock(2) without waiting, shared or exclusive. False if another process holds a lock that conflicts. */
  lock(fd: number, alone: boolean): boolean;
  /** First decimal number in a kernel file, read anew; -1 on failure. */
  readCounter(fd: number): number;
  /** Number of bytes that a read would return now. */
  bytesWaiting(fd: number): number;
  /**
   * Takes over the socket on which a sandbox sends the listener of its filter. Calls `onRefused` with the name of each refused
   * call, until the returned function is called or the sandbox has used up its budget.
   */
  watchRefusals(fd: number, onRefused: (call: string) => void): () => void;
}

const build = fileURLToPath(new URL('./build/', import.meta.url));

export const native = createRequire(import.meta.url)(`${build}worker.node`) as NativeAddon;
export const LAUNCHER = `${build}launcher`;

/** The system call filter of this build's sandboxes, named by the digest of its instructions. */
export const SECCOMP_FILTER = JSON.parse(readFileSync(`${build}seccomp_filter.json`, 'utf8')) as {
  readonly sha256: string;
  readonly instructions: number;
};
