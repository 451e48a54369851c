/**
 * The life of a sandbox after its isolation: it is told which function it is, loads it, and answers invocations until
 * the worker closes the channel.
 */
import { Socket } from 'node:net';
import {
  ChannelKind,
  ChannelReader,
  encodeChannelFrame,
  OTHERS_RUN,
  type InvokeContext,
  type SandboxInit,
} from '#contract/channel.ts';
import { BodyStream } from './body-stream.ts';
import { currentHandle, endOutput } from './capture-logs.ts';
import { collectGarbage } from './collect-garbage.ts';
import { describeError } from './describe-error.ts';
import { BadResponseError, type FunctionContext, type Invocation } from './invocation.ts';
import { loadFunction, type LoadedFunction } from './load-function.ts';
import type { SpanChannel } from './otel-span.ts';
import { beginTracing, endTracing, setTracing, tellOpenSpans } from './tracing.ts';

/** Frames from the worker are trusted; this only bounds a mistake. */
const MAX_WORKER_FRAME_BYTES = 1024 * 1024 * 1024;
/** Output that waits to be read by the worker; more than an invocation keeps anyway. */
const MAX_LOG_BACKLOG_BYTES = 1024 * 1024;
/**
 * After so much output it is looked at whether the small buffers in which it went have become too many. The runtime lets 64 MB of them
 * come together, and a loop that only prints would run out of its memory by them.
 */
const LOG_LOOK_CHARACTERS = 4 * 1024 * 1024;
const MAX_BUFFER_BYTES = 16 * 1024 * 1024;

interface WaitingCall {
  readonly handle: number;
  readonly context: InvokeContext;
  readonly payload: Buffer;
}

export class SandboxRuntime {
  readonly #channel: Socket;
  readonly #takeTurn: () => number;
  readonly #exit: (code: number) => void;
  readonly #others: () => number;
  /** What the worker knows of them. */
  #othersTold = 0;
  readonly #running = new Set<number>();
  /** Handed over and not started, for a function that runs one invocation at a time. */
  readonly #line: WaitingCall[] = [];
  /** Request bodies that come in pieces, from the arrival of their invocation to its end. */
  readonly #bodies = new Map<number, BodyStream>();
  #loaded: LoadedFunction | undefined;
  #concurrency = 1;
  #startsSoon = false;
  /** Output that came faster than it was read: by invocation, bytes and the level of the last of it. */
  readonly #dropped = new Map<number, { bytes: number; level: Uint8Array }>();
  /** Characters since the last look. */
  #logged = 0;

  /**
   * `takeTurn`: see ZygoteAddon. `exit` ends the process; also called when the worker closes the channel. `others` gives the
   * OTHERS_ bits at the time.
   */
  constructor(channelFd: number, takeTurn: () => number, exit: (code: number) => void, others: () => number) {
    this.#takeTurn = takeTurn;
    this.#exit = exit;
    this.#others = others;
    this.#channel = new Socket({ fd: channelFd, readable: true, writable: true });
    const reader = new ChannelReader(MAX_WORKER_FRAME_BYTES, (kind, handle, payload) => {
      if (kind === ChannelKind.INIT) void this.#load(JSON.parse(payload.toString('utf8')) as SandboxInit);
      if (kind === ChannelKind.INVOKE) this.#take(handle, payload);
      if (kind === ChannelKind.BODY) this.#bodies.get(handle)?.push(payload);
    });
    this.#channel.on('data', (chunk: Buffer) => reader.push(chunk));
    // The worker has gone or wants this sandbox no more.
    this.#channel.on('close', () => exit(0));
    this.#channel.on('error', () => exit(0));
  }

  /** Everything that was sent so far leaves now. */
  readonly flush = (): void => {
    while (this.#channel.writableCorked > 0) this.#channel.uncork();
  };

  /** At once: what a function said before it crashed is what its author wants to read. */
  log(handle: number, level: Uint8Array, text: string): void {
    // A loop that prints without ever waiting gives the socket no turn to empty itself; what it says would pile up here.
    if (this.#channel.writableLength > MAX_LOG_BACKLOG_BYTES) {
      const bytes = (this.#dropped.get(handle)?.bytes ?? 0) + text.length;
      this.#dropped.set(handle, { bytes, level });
      return;
    }
    this.flush();
    this.#tellDropped(handle);
    this.#channel.write(encodeChannelFrame(ChannelKind.LOG, handle, level, Buffer.from(text)));
    this.#logged += text.length;
    if (this.#logged < LOG_LOOK_CHARACTERS) return;
    this.#logged = 0;
    if (process.memoryUsage().external > MAX_BUFFER_BYTES) collectGarbage();
  }

  #tellDropped(handle: number): void {
    const dropped = this.#dropped.get(handle);
    if (!dropped) return;
    this.#dropped.delete(handle);
    const note = Buffer.from(
      `(${dropped.bytes} bytes of output were dropped here: written faster than read)\n`,
    );
    this.#channel.write(encodeChannelFrame(ChannelKind.LOG, handle, dropped.level, note));
  }

  /** Has the worker end this sandbox as by a signal; `halt` stops all code until then, as the signal would have. */
  endBySignal(signal: number, halt: () => void): void {
    this.flush();
    this.#channel.write(encodeChannelFrame(ChannelKind.SIGNALLED, 0, Buffer.from([signal])), halt);
    // Nearly always it is out by now, and what called for the signal gets no further.
    if (this.#channel.writableLength === 0) halt();
  }

  /** An error that nobody caught: every running invocation fails by it, and the process is in no state to go on. */
  fail(thrown: unknown): void {
    const described = describeError(thrown);
    console.error(described.stack ?? `${described.name}: ${described.message}`);
    if (!this.#loaded) return this.#failLoad(described);
    const report = failure('error', described);
    for (const handle of this.#running) {
      tellOpenSpans(handle);
      this.#send(ChannelKind.FAILED, handle, report);
    }
    this.#endAfterFlush();
  }

  /** A result and the SETTLED that nearly always follows it leave in one system call. */
  #send(kind: ChannelKind, handle: number, ...payload: Uint8Array[]): boolean {
    if (this.#channel.writableCorked === 0) {
      this.#channel.cork();
      process.nextTick(this.flush);
    }
    return this.#channel.write(encodeChannelFrame(kind, handle, ...payload));
  }

  /** In front of what the worker must not take for older than it is. */
  #tellOthers(): void {
    const others = this.#others();
    if (others === this.#othersTold) return;
    this.#othersTold = others;
    this.#send(ChannelKind.OTHERS, 0, Buffer.from([others]));
  }

  #endAfterFlush(): void {
    this.flush();
    this.#channel.end(() => this.#exit(1));
  }

  #failLoad(described: ReturnType<typeof describeError>): void {
    this.#send(ChannelKind.LOAD_FAILED, 0, Buffer.from(JSON.stringify(described)));
    this.#endAfterFlush();
  }

  async #load(init: SandboxInit): Promise<void> {
    const start = performance.now();
    this.#concurrency = init.concurrency;
    Object.assign(process.env, init.env);
    process.argv = [process.argv[0] ?? 'node', `/var/task/${init.entry}`];
    // The standard's own switch, for a function that brings an SDK.
    const isOff = init.env['OTEL_SDK_DISABLED'] === 'true';
    setTracing(isOff ? undefined : this.#spans());
    try {
      this.#loaded = await loadFunction(init);
      const report = { init: performance.now() - start, form: this.#loaded.form };
      this.#tellOthers();
      this.#send(ChannelKind.READY, 0, Buffer.from(JSON.stringify(report)));
    } catch (error) {
      this.#failLoad(describeError(error));
    }
  }

  #spans(): SpanChannel {
    // At once, as with a log: what follows may never wait again, and where it was is then what its author wants to know.
    const tell = (kind: ChannelKind, handle: number, payload: Buffer): void => {
      this.flush();
      this.#channel.write(encodeChannelFrame(kind, handle, payload));
    };
    return {
      begun: (handle, payload) => tell(ChannelKind.SPAN_BEGUN, handle, payload),
      ended: (handle, payload) => tell(ChannelKind.SPAN, handle, payload),
      unfinished: (handle, payload) => void this.#send(ChannelKind.SPAN, handle, payload),
      dropped: (handle, count) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32LE(count, 0);
        this.#send(ChannelKind.SPANS_DROPPED, handle, bytes);
      },
    };
  }

  #take(handle: number, payload: Buffer): void {
    const contextEnd = 4 + payload.readUInt32LE(0);
    const context = JSON.parse(payload.toString('utf8', 4, contextEnd)) as InvokeContext;
    if (context.bodyBytes !== undefined) this.#bodies.set(handle, this.#bodyOf(handle, context.bodyBytes));
    this.#line.push({ handle, context, payload: payload.subarray(contextEnd) });
    this.#startNext();
  }

  #startNext(): void {
    while (this.#loaded && this.#line.length > 0 && this.#running.size < this.#concurrency) {
      const turn = this.#line[0]?.context.ahead ? this.#takeTurn() : 1;
      if (turn < 0) return this.#startSoon();
      const call = this.#line.shift();
      // Without a turn the worker has taken the call back, and somebody else runs it.
      if (turn > 0 && call) void this.#invoke(this.#loaded, call);
      else if (call) this.#bodies.delete(call.handle);
    }
  }

  #bodyOf(handle: number, bytes: number): BodyStream {
    return new BodyStream(bytes, (taken) => {
      const credit = Buffer.allocUnsafe(4);
      credit.writeUInt32LE(taken, 0);
      this.#send(ChannelKind.BODY_CREDIT, handle, credit);
    });
  }

  #startSoon(): void {
    if (this.#startsSoon) return;
    this.#startsSoon = true;
    setImmediate(() => {
      this.#startsSoon = false;
      this.#startNext();
    });
  }

  async #invoke(loaded: LoadedFunction, { handle, context: told, payload }: WaitingCall): Promise<void> {
    const body = told.bodyBytes === undefined ? undefined : this.#bodies.get(handle);
    const invocation: Invocation = {
      handle,
      context: told,
      ...(body && { body }),
      send: (kind, ...parts) => {
        // In front of the answer, at which the worker writes down what it knows.
        if (kind === ChannelKind.RESULT || kind === ChannelKind.END) tellOpenSpans(handle);
        this.#send(kind, handle, ...parts);
      },
      sendAndWait: async (kind, ...parts) => {
        if (this.#send(kind, handle, ...parts)) return;
        await new Promise<void>((resolve) => {
          this.#channel.once('drain', resolve);
        });
      },
    };
    const pending = new Set<Promise<unknown>>();
    this.#running.add(handle);
    // Those of earlier invocations may have ended meanwhile.
    if ((this.#othersTold & OTHERS_RUN) !== 0) {
      this.#tellOthers();
      this.flush();
    }
    beginTracing(handle, told.traceparent, told.tracestate);
    await currentHandle.run(handle, async () => {
      try {
        await loaded.answer(invocation, payload, toContext(told, pending));
      } catch (error) {
        const outcome = error instanceof BadResponseError ? 'bad_response' : 'error';
        const described = describeError(error);
        console.error(described.stack ?? `${described.name}: ${described.message}`);
        tellOpenSpans(handle);
        this.#send(ChannelKind.FAILED, handle, failure(outcome, described));
      }
      while (pending.size > 0) await Promise.allSettled(pending);
      this.#running.delete(handle);
      endTracing(handle);
      if (body) {
        body.drop();
        this.#bodies.delete(handle);
      }
      endOutput(handle);
      this.#tellDropped(handle);
      this.#tellOthers();
      this.#send(ChannelKind.SETTLED, handle);
    });
    if (this.#line.length === 0) return;
    // What this one has said leaves before the next one can do harm; and what it left undone, such as a rejection that
    // nobody handles, comes up in a turn of its own.
    this.flush();
    this.#startSoon();
  }
}

function toContext(told: InvokeContext, pending: Set<Promise<unknown>>): FunctionContext {
  const deadline = performance.now() + told.remainingMs;
  return {
    invocationId: told.id,
    traceparent: told.traceparent,
    remainingMs: () => Math.max(0, deadline - performance.now()),
    waitUntil: (promise) => {
      const settled = Promise.resolve(promise)
        .catch((error: unknown) => console.error('waitUntil:', error))
        .finally(() => pending.delete(settled));
      pending.add(settled);
    },
  };
}

function failure(outcome: 'error' | 'bad_response', error: ReturnType<typeof describeError>): Buffer {
  return Buffer.from(JSON.stringify({ outcome, error }));
}
