/**
 * Reads a sandbox's output on descriptors 1 and 2 that bypasses its runtime, as native code and child processes write it.
 * (`console` arrives in frames of the channel.)
 */
import { Socket } from 'node:net';
import { native } from '../native/addon.ts';

export type OutputStream = 'stdout' | 'stderr';

/** Time limit for reading the output that is in the pipes when a run ends, in case a child process goes on writing. */
const DRAIN_MS = 50;

export class OutputPipes {
  /** The pipes' ends for the sandbox; the caller closes them after the fork. */
  readonly theirs: readonly number[];
  /** The ends that are read here; they close when no process holds the other ends any more. */
  readonly sockets: readonly Socket[];
  readonly #fds: readonly number[];

  constructor(onOutput: (stream: OutputStream, bytes: Buffer) => void) {
    const pipes = [native.pipe(), native.pipe()];
    this.theirs = pipes.map(([, theirs]) => theirs);
    this.#fds = pipes.map(([own]) => own);
    this.sockets = this.#fds.map((fd, index) => {
      const socket = new Socket({ fd, readable: true, writable: false });
      socket.on('data', (bytes: Buffer) => onOutput(index === 0 ? 'stdout' : 'stderr', bytes));
      socket.on('error', () => undefined);
      return socket;
    });
  }

  /** True while the pipes hold unread output. */
  get waiting(): boolean {
    return this.#fds.some((fd, index) => !this.sockets[index]?.destroyed && native.bytesWaiting(fd) > 0);
  }

  /** Settles when the output that is in the pipes now has been read, or when the time limit is over. */
  async drained(): Promise<void> {
    const end = performance.now() + DRAIN_MS;
    while (this.waiting && performance.now() < end) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }
}
