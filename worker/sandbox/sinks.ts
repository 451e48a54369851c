/**
 * Routes the frames and output of a sandbox to the invocations that run in it. Frames name their invocation. Output of native code
 * and refused calls name only the sandbox. They go to an invocation only while no other code may have caused them.
 */
import { OTHERS_NATIVE, OTHERS_RUN } from '#contract/wire/channel.ts';
import type { OutputStream } from './output-pipes.ts';

/** Receiver of one invocation's frames, output and events. */
export interface InvocationSink {
  /** The invocation's code starts to run. */
  begun(): void;
  /** True once its end is known, though its code may go on. */
  readonly isAnswered?: boolean;
  /** The invocation has not started here and never will: the sandbox was busy for too long, or has ended. */
  withdrawn(): void;
  frame(kind: number, payload: Buffer): void;
  /** Bytes that were written to descriptors 1 and 2 past the runtime. */
  output(stream: OutputStream, bytes: Buffer): void;
  /** A system call that was refused, such as `socket(AF_VSOCK)`. */
  refused?(call: string): void;
  /** Output was printed during the invocation that may belong to another one. */
  unclaimed?(): void;
  /** Returns the sink for frames that name the invocation after release(). */
  afterwards?(): InvocationSink;
}

/** The sandbox's output pipes, as far as this file needs them. */
interface Pipes {
  readonly waiting: boolean;
  drained(): Promise<void>;
}

/** Upper bound on ended invocations whose late output is still attributed to them; output of older ones is unclaimed. */
const MAX_LATE = 16;

export class Sinks {
  /** Receives frames and output that belong to no invocation, such as logs of the module's load. */
  unclaimed: InvocationSink | undefined;
  readonly #pipes: Pipes;
  readonly #onDiscarded: (bytes: number) => void;
  readonly #running = new Map<number, InvocationSink>();
  /** Sinks of the invocations that were released last, by handle. */
  readonly #late = new Map<number, InvocationSink>();
  /** Number of invocations that have begun. */
  #begun = 0;
  /** OTHERS_ bits that hold for the output read now, and the bits that the sandbox sent last. */
  #others = 0;
  #othersTold = 0;
  /** An invocation that has settled while its output waits to be read. */
  #settling: { readonly handle: number; readonly released: () => void } | undefined;

  /** `onDiscarded` counts bytes that no sink takes. */
  constructor(pipes: Pipes, onDiscarded: (bytes: number) => void) {
    this.#pipes = pipes;
    this.#onDiscarded = onDiscarded;
  }

  /** Number of invocations that have begun and were not released. */
  get running(): number {
    return this.#running.size;
  }

  /** Number of those whose end is not known. */
  get unanswered(): number {
    return [...this.#running.values()].filter(({ isAnswered }) => isAnswered !== true).length;
  }

  begin(handle: number, sink: InvocationSink): void {
    this.#begun++;
    this.#running.set(handle, sink);
    sink.begun();
  }

  /**
   * Releases an invocation that has settled or was abandoned, and calls `released` then. Waits for the output of its native code and
   * child processes, unless `isEnded`: the sandbox starts the next invocation only after that.
   */
  release(handle: number, isEnded: boolean, released: () => void): void {
    if (isEnded || !this.#pipes.waiting) return this.#release(handle, released);
    this.#settling = { handle, released };
    void this.#pipes.drained().then(() => this.#release(handle, released));
  }

  #release(handle: number, released: () => void): void {
    if (this.#settling?.handle === handle) this.#settling = undefined;
    const late = this.#running.get(handle)?.afterwards?.();
    if (late) this.#late.set(handle, late);
    const [oldest = 0] = this.#late.keys();
    if (this.#late.size > MAX_LATE) this.#late.delete(oldest);
    this.#running.delete(handle);
    released();
  }

  frame(kind: number, handle: number, payload: Buffer): void {
    // A frame of a later invocation proves that the settling one's output has been read.
    if (this.#settling && handle > this.#settling.handle)
      this.#release(this.#settling.handle, this.#settling.released);
    const sink = this.#running.get(handle) ?? this.#late.get(handle) ?? this.unclaimed;
    if (sink) sink.frame(kind, payload);
    else this.#onDiscarded(payload.length);
  }

  output(stream: OutputStream, bytes: Buffer): void {
    const sink = this.#sinkOf(this.#hasOlder || this.#hasOlderNative);
    if (sink === this.unclaimed) for (const running of this.#running.values()) running.unclaimed?.();
    if (sink) sink.output(stream, bytes);
    else this.#onDiscarded(bytes.length);
  }

  refused(call: string): void {
    this.#sinkOf(this.#hasOlder)?.refused?.(call);
  }

  /** Takes the sandbox's report of code that runs beside its invocations: OTHERS_ bits. */
  others(bits: number): void {
    this.#othersTold = bits;
    this.#others |= bits;
    if (this.#others === bits) return;
    // Output of processes that have ended may still wait to be read, so keep their bits until it has been.
    if (!this.#pipes.waiting) this.#others = bits;
    else void this.#pipes.drained().then(() => (this.#others = this.#othersTold));
  }

  /** Do processes or threads still run that a settled invocation or the module's load has started? */
  get #hasOlder(): boolean {
    return (this.#others & OTHERS_RUN) !== 0;
  }

  /** May native code of an earlier invocation still run in threads that the runtime does not know? */
  get #hasOlderNative(): boolean {
    return (this.#others & OTHERS_NATIVE) !== 0 && this.#begun > 1;
  }

  /**
   * Returns the sink for data that names only the sandbox: the running invocation if it is the only one and nothing older runs,
   * else `unclaimed`.
   */
  #sinkOf(hasOlder: boolean): InvocationSink | undefined {
    const [only] = this.#running.values();
    return this.#running.size === 1 && !hasOlder ? only : this.unclaimed;
  }
}
