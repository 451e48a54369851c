/** The system calls that Node does not offer; see native/worker_addon.c. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

declare const page: unique symbol;
/** A handle of the addon's. */
export interface TurnsPage {
  readonly [page]: true;
}

export interface NativeAddon {
  /** Two connected stream sockets, close-on-exec. */
  socketpair(): [number, number];
  /** Read end and write end, close-on-exec. */
  pipe(): [number, number];
  /** From now on nobody can send descriptors to this unix socket. False where the kernel is older than Linux 6.16. */
  refuseDescriptors(fd: number): boolean;
  /** A count in a page of its own, and the descriptor by which a sandbox maps it; see native/turns.h. */
  makeTurns(): [theirs: number, turns: TurnsPage];
  /** Adds one to the count. */
  postTurn(turns: TurnsPage): void;
  /** Takes all off the count. Gives their number, `max` at most. */
  takeTurnsBack(turns: TurnsPage, max: number): number;
  /** Unmaps the page; a later call with it does nothing. */
  closeTurns(turns: TurnsPage): void;
  /** One sendmsg(2) with SCM_RIGHTS. Throws when the other side has gone. */
  sendWithDescriptors(fd: number, bytes: Buffer, fds: readonly number[]): void;
  /** flock(2) without waiting, shared or for oneself alone. False when others have it in a way that does not go with that. */
  lock(fd: number, alone: boolean): boolean;
  /** First decimal number in a kernel file, read anew; -1 on failure. */
  readCounter(fd: number): number;
  /** Bytes that a read would give now. */
  bytesWaiting(fd: number): number;
  /**
   * Takes over the socket on which a sandbox sends the listener of its filter; `onRefused` is called with the name of each
   * call that is refused, until the function that this returns is called, or the sandbox has used up its share.
   */
  watchRefusals(fd: number, onRefused: (call: string) => void): () => void;
}

const build = fileURLToPath(new URL('../native/build/', import.meta.url));

export const native = createRequire(import.meta.url)(`${build}worker.node`) as NativeAddon;
export const LAUNCHER = `${build}launcher`;

/** The system call filter that the sandboxes of this build are under, named by the digest of its instructions. */
export const SECCOMP_FILTER = JSON.parse(readFileSync(`${build}seccomp_filter.json`, 'utf8')) as {
  readonly sha256: string;
  readonly instructions: number;
};
