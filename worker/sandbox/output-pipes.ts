/**
 * What a sandbox writes to descriptors 1 and 2 past its runtime, as native code and child processes do. (`console` comes as
 * frames of the channel.)
 */
import { Socket } from 'node:net';
import { native } from '../native/addon.ts';

export type OutputStream = 'stdout' | 'stderr';

/** What was in the output pipes when a run ended is read within this, unless a child process goes on writing. */
const DRAIN_MS = 50;

export class OutputPipes {
  /** The ends for the sandbox; whoever has handed them over closes them. */
  readonly theirs: readonly number[];
  /** The ends that are read here; they close when nobody holds the others any more. */
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

  /** Something has been written that is not read yet. */
  get waiting(): boolean {
    return this.#fds.some((fd, index) => !this.sockets[index]?.destroyed && native.bytesWaiting(fd) > 0);
  }

  /** Settles when what is in the pipes now has been read, or is not to be waited for any longer. */
  async drained(): Promise<void> {
    const end = performance.now() + DRAIN_MS;
    while (this.waiting && performance.now() < end) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }
}
