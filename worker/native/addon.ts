/** Loads the native addon with the system calls that Node does not offer; see worker/worker_addon.c. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

declare const page: unique symbol;
/** A handle owned by the addon. */
export interface TurnsPage {
  readonly [page]: true;
}

export interface NativeAddon {
  /** Returns two connected stream sockets, close-on-exec. */
  socketpair(): [number, number];
  /** Returns the read end and the write end, close-on-exec. */
  pipe(): [number, number];
  /** Makes this unix socket refuse descriptors. Returns false where the kernel is older than Linux 6.16. */
  refuseDescriptors(fd: number): boolean;
  /** Makes a count in a page of its own, with the descriptor by which a sandbox maps it; see runtime/turns.h. */
  makeTurns(): [theirs: number, turns: TurnsPage];
  /** Adds one to the count. */
  postTurn(turns: TurnsPage): void;
  /** Takes up to `max` off the count. Returns how many. */
  takeTurnsBack(turns: TurnsPage, max: number): number;
  /** Unmaps the page; a later call with it does nothing. */
  closeTurns(turns: TurnsPage): void;
  /** Sends by one sendmsg(2) with SCM_RIGHTS. Throws when the other side has gone. */
  sendWithDescriptors(fd: number, bytes: Buffer, fds: readonly number[]): void;
  /** Takes a flock(2) without waiting, shared or exclusive (`alone`). Returns false when another holder's lock conflicts. */
  lock(fd: number, alone: boolean): boolean;
  /** Reads the first decimal number in a kernel file anew; -1 on failure. */
  readCounter(fd: number): number;
  /** Returns the number of bytes that a read would give now. */
  bytesWaiting(fd: number): number;
  /**
   * Takes over the socket on which a sandbox sends the listener of its filter. `onRefused` gets the name of each refused call,
   * until the returned function is called or the sandbox has used up its share.
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
