/**
 * Runs a sandbox after its isolation. It receives the function's description over the channel, loads the function, and answers
 * invocations until the worker closes the channel.
 */
import { Socket } from 'node:net';
import {
  ChannelKind,
  ChannelReader,
  encodeChannelFrame,
  MAX_WORKER_FRAME_BYTES,
  OTHERS_LISTEN,
  OTHERS_RUN,
  putBodyCredit,
  putLog,
  putOthers,
  putSignalled,
  putSpanBegun,
  putSpansDropped,
  putStopping,
  readInvoke,
  readStop,
  type FailedReport,
  type InvokeContext,
  type SandboxInit,
} from '#contract/wire/channel.ts';
import { BodyStream } from '../handlers/body-stream.ts';
import { currentHandle, endOutput, type LogOrigin } from '../output/capture-logs.ts';
import { destinationsOf } from './closed-network.ts';
import { collectGarbage } from '../runtime/collect-garbage.ts';
import { describeError, isError, type DescribedError } from '../runtime/describe-error.ts';
import {
  BadResponseError,
  NoHandlerError,
  type FunctionContext,
  type Invocation,
} from '../handlers/invocation.ts';
import { StopHooks } from '../handlers/stop-hooks.ts';
import { endAs, listensToEnd, type OpenInvocation } from './endings.ts';
import { loadFunction, type LoadedFunction } from './load-function.ts';
import { tellExit } from './watch-uncaught.ts';
import type { SpanChannel } from '../tracing/otel-span.ts';
import { beginTracing, endTracing, setTracing, tellOpenSpans } from '../tracing/tracing.ts';

/** Upper bound on output that the worker has not read yet; an invocation's log keeps less anyway. */
const MAX_LOG_BACKLOG_BYTES = 1024 * 1024;
/**
 * Number of output characters after which the memory of small buffers is checked. The runtime lets 64 MB of such buffers pile up,
 * so a loop that only prints would run out of memory.
 */
const LOG_LOOK_CHARACTERS = 4 * 1024 * 1024;
const MAX_BUFFER_BYTES = 16 * 1024 * 1024;
/** Upper bound on destinations told until an invocation begins; the record shows no more. */
const MAX_UNREACHED = 16;

/** Upper bound on ids of invocations that are remembered. */
const MAX_IDS = 1_024;

/** Taken before the function loads, because it may replace the global one, for example by a test's fake clock. */
const { setImmediate } = globalThis;

interface WaitingCall {
  readonly handle: number;
  readonly context: InvokeContext;
  readonly payload: Buffer;
}

/** An uncaught error: the handle of the invocation whose code threw it, or 0, and the invocations that ran then. */
interface UncaughtError {
  readonly culprit: number;
  readonly described: DescribedError;
  readonly running: Pick<ReadonlySet<number>, 'has'>;
}

export class SandboxRuntime {
  readonly #channel: Socket;
  readonly #takeTurn: () => number;
  readonly #exit: (code: number) => void;
  readonly #others: () => number;
  readonly #adapt: (init: SandboxInit) => Promise<void>;
  /** The OTHERS_ bits that the worker knows. */
  #othersTold = 0;
  readonly #running = new Map<number, OpenInvocation>();
  /** Ids of the latest invocations by handle, of which code may still run. */
  readonly #ids = new Map<number, string>();
  /** Calls that were handed over and have not started, for a function that runs one invocation at a time. */
  readonly #line: WaitingCall[] = [];
  /** Request bodies that arrive in pieces, from the arrival of their invocation to its end. */
  readonly #bodies = new Map<number, BodyStream>();
  #loaded: LoadedFunction | undefined;
  /** Set by an error that ends the process. */
  #failed = false;
  #concurrency = 1;
  #startsSoon = false;
  /** Output dropped because the worker reads too slowly: by invocation, its bytes and the origin of its last piece. */
  readonly #dropped = new Map<number, { bytes: number; origin: LogOrigin }>();
  /** Destinations that the worker knows. Each invocation reports its own, so this starts anew with the next one. */
  readonly #unreached = new Set<string>();
  /** The last uncaught error that the function has taken, and the invocations that ran then. */
  #taken: UncaughtError | undefined;
  /** Characters since the last check of the buffers. */
  #logged = 0;

  /**
   * `takeTurn`: see ZygoteAddon. `exit` ends the process, also when the worker closes the channel. `others` returns the current
   * OTHERS_ bits. `adapt` gives the process the limits and the start variables of the function, before its module loads.
   */
  constructor(
    channelFd: number,
    takeTurn: () => number,
    exit: (code: number) => void,
    others: () => number,
    adapt: (init: SandboxInit) => Promise<void>,
  ) {
    this.#adapt = adapt;
    this.#takeTurn = takeTurn;
    this.#exit = exit;
    this.#others = others;
    this.#channel = new Socket({ fd: channelFd, readable: true, writable: true });
    const reader = new ChannelReader(MAX_WORKER_FRAME_BYTES, (kind, handle, payload) => {
      if (kind === ChannelKind.INIT) void this.#load(JSON.parse(payload.toString('utf8')) as SandboxInit);
      if (kind === ChannelKind.INVOKE) this.#take(handle, payload);
      if (kind === ChannelKind.BODY) this.#bodies.get(handle)?.push(payload);
      if (kind === ChannelKind.STOP) this.#stop(handle, payload);
    });
    this.#channel.on('data', (chunk: Buffer) => reader.push(chunk));
    // The worker has gone or discards this sandbox.
    this.#channel.on('close', () => exit(0));
    this.#channel.on('error', () => exit(0));
  }

  /** Sends all frames that are still corked. */
  readonly flush = (): void => {
    while (this.#channel.writableCorked > 0) this.#channel.uncork();
  };

  /** Sends at once: the author of a function that crashes wants to read its last output. */
  log(given: number, origin: LogOrigin, text: string): void {
    const handle = this.#ownerOf(given);
    // A loop that prints without ever waiting gives the socket no turn to drain, so its output would pile up here.
    if (this.#channel.writableLength > MAX_LOG_BACKLOG_BYTES) {
      const bytes = (this.#dropped.get(handle)?.bytes ?? 0) + text.length;
      this.#dropped.set(handle, { bytes, origin });
      return;
    }
    this.flush();
    this.#tellDropped(handle);
    const parts = putLog({ ...origin, text: Buffer.from(text) });
    this.#channel.write(encodeChannelFrame(ChannelKind.LOG, handle, ...parts));
    this.#logged += text.length;
    if (this.#logged < LOG_LOOK_CHARACTERS) return;
    this.#logged = 0;
    if (process.memoryUsage().external > MAX_BUFFER_BYTES) collectGarbage();
  }

  /** Returns the handle of output whose code is of no invocation, such as a listener of the module: that of the only one that runs. */
  #ownerOf(handle: number): number {
    if (handle !== 0 || this.#running.size !== 1) return handle;
    const [only = 0] = this.#running.keys();
    return only;
  }

  #tellDropped(handle: number): void {
    const dropped = this.#dropped.get(handle);
    if (!dropped) return;
    this.#dropped.delete(handle);
    const text = Buffer.from(
      `(${dropped.bytes} bytes of output were dropped here: written faster than read)\n`,
    );
    const parts = putLog({ ...dropped.origin, text });
    this.#channel.write(encodeChannelFrame(ChannelKind.LOG, handle, ...parts));
  }

  /** Tells the worker of a name or an address that the function could not reach. */
  unreached(handle: number, destination: string): void {
    if (this.#unreached.has(destination) || this.#unreached.size >= MAX_UNREACHED) return;
    this.#unreached.add(destination);
    this.#send(ChannelKind.UNREACHED, this.#running.has(handle) ? handle : 0, Buffer.from(destination));
  }

  /** Asks the worker to end this sandbox as by a signal; `halt` stops all code until then, as the signal would have. */
  endBySignal(signal: number, halt: () => void): void {
    this.flush();
    this.#channel.write(encodeChannelFrame(ChannelKind.SIGNALLED, 0, ...putSignalled({ signal })), halt);
    // The frame has nearly always left by now; then the code that called for the signal runs no further.
    if (this.#channel.writableLength === 0) halt();
  }

  /** Handles an uncaught error: its invocation fails by it, and the others lose the process, which is in no state to go on. */
  readonly fail = (thrown: unknown): void => {
    const described = describeError(thrown);
    // The worker prints the error of a load itself.
    if (this.#loaded) {
      console.error(described.stack ?? `${described.name}: ${described.message}`);
      // Calls that are on their way have not run: the worker may run them elsewhere.
      if (this.#running.size === 0) this.#send(ChannelKind.FAILED, 0, failure('error', described));
    }
    this.#failBy({ culprit: this.#culprit(), described, running: this.#running });
    tellExit(1);
    this.#endAfterFlush();
  };

  /** Remembers an uncaught error that code of the function has taken: a reporter may end the process after its report. */
  readonly taken = (thrown: unknown): void => {
    this.#taken = {
      culprit: this.#culprit(),
      described: describeError(thrown),
      running: new Set(this.#running.keys()),
    };
  };

  /** Sends the last frames before the process ends by code of the function. */
  exits(code: number): void {
    if (this.#taken) this.#failBy(this.#taken);
    else if (this.#running.size > 0) this.#failOthers(this.#culprit(), `process.exit(${code})`);
    this.flush();
  }

  /** Fails the invocation whose code threw, and those that ran beside it then. */
  #failBy({ culprit, described, running }: UncaughtError): void {
    if (!this.#loaded) this.#send(ChannelKind.LOAD_FAILED, 0, Buffer.from(JSON.stringify(described)));
    if (running.has(culprit) && this.#running.has(culprit)) {
      tellOpenSpans(culprit);
      this.#send(ChannelKind.FAILED, culprit, failure('error', described));
    }
    this.#failOthers(culprit, `${described.name}: ${described.message}`, running);
    this.flush();
  }

  #culprit(): number {
    return this.#ownerOf(currentHandle.getStore() ?? 0);
  }

  #failOthers(culprit: number, act: string, among: Pick<ReadonlySet<number>, 'has'> = this.#running): void {
    const id = this.#ids.get(culprit);
    const by = id === undefined ? 'code of the module' : `invocation ${id}`;
    const error = { name: 'EndedByAnother', message: `${by} ended the process: ${act}` };
    for (const handle of this.#running.keys()) {
      if (handle === culprit || !among.has(handle)) continue;
      tellOpenSpans(handle);
      this.#send(ChannelKind.FAILED, handle, failure('ended_by_another', error));
    }
  }

  /** Corks the channel, so that a result and the SETTLED that nearly always follows it leave in one system call. */
  #send(kind: ChannelKind, handle: number, ...payload: Uint8Array[]): boolean {
    if (this.#channel.writableCorked === 0) {
      this.#channel.cork();
      process.nextTick(this.flush);
    }
    return this.#channel.write(encodeChannelFrame(kind, handle, ...payload));
  }

  /** Sends the OTHERS_ bits when they changed, ahead of a frame after which the worker relies on them. */
  #tellOthers(): void {
    const others = this.#others() | (listensToEnd() ? OTHERS_LISTEN : 0);
    if (others === this.#othersTold) return;
    this.#othersTold = others;
    this.#send(ChannelKind.OTHERS, 0, ...putOthers({ others }));
  }

  #endAfterFlush(): void {
    this.flush();
    // The frames have nearly always left by now. Node runs no further tick by itself after an error that nothing has caught.
    if (this.#channel.writableLength === 0) return this.#exit(1);
    this.#channel.end(() => this.#exit(1));
    setImmediate(() => undefined);
  }

  #failLoad(described: ReturnType<typeof describeError>): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#send(ChannelKind.LOAD_FAILED, 0, Buffer.from(JSON.stringify(described)));
    this.#endAfterFlush();
  }

  async #load(init: SandboxInit): Promise<void> {
    const start = performance.now();
    this.#concurrency = init.concurrency;
    Object.assign(process.env, init.env);
    process.argv = [process.argv[0] ?? 'node', `/var/task/${init.entry}`];
    setTracing(init.tracing === false ? undefined : this.#spans());
    try {
      await this.#adapt(init);
      const loaded = await loadFunction(init);
      // Rejections that nobody handles and immediates of the module come up within a turn of the event loop, and fail the load.
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#failed) return;
      this.#loaded = loaded;
      const report = { init: performance.now() - start, handlers: loaded.handlers };
      this.#tellOthers();
      this.#send(ChannelKind.READY, 0, Buffer.from(JSON.stringify(report)));
    } catch (error) {
      for (const to of safely(() => destinationsOf(error))) this.unreached(0, to);
      this.#failLoad(describeError(error));
    }
  }

  /** Obeys a STOP. One that comes after SETTLED has nothing to end any more. */
  #stop(handle: number, payload: Buffer): void {
    const stop = readStop(payload);
    const open = this.#running.get(handle);
    if (!stop || (handle !== 0 && !open)) return;
    void endAs(handle, stop, open, (waits) => {
      this.#send(ChannelKind.STOPPING, handle, ...putStopping({ waits: waits ? 1 : 0 }));
      this.flush();
    });
  }

  #spans(): SpanChannel {
    // Flushed at once, as a log is: the code that follows may block for ever, and its author then wants to see the last span.
    const tell = (kind: ChannelKind, handle: number, ...payload: Uint8Array[]): void => {
      this.flush();
      this.#channel.write(encodeChannelFrame(kind, handle, ...payload));
    };
    return {
      begun: (handle, span, facts) => tell(ChannelKind.SPAN_BEGUN, handle, ...putSpanBegun({ span, facts })),
      ended: (handle, payload) => tell(ChannelKind.SPAN, handle, payload),
      unfinished: (handle, payload) => void this.#send(ChannelKind.SPAN, handle, payload),
      dropped: (handle, count) => {
        this.#send(ChannelKind.SPANS_DROPPED, handle, ...putSpansDropped({ count }));
      },
    };
  }

  #take(handle: number, payload: Buffer): void {
    const parts = readInvoke(payload);
    if (!parts) throw new Error(`INVOKE of ${payload.length} bytes`);
    const context = JSON.parse(parts.context.toString('utf8')) as InvokeContext;
    if (context.bodyBytes !== undefined) this.#bodies.set(handle, this.#bodyOf(handle, context.bodyBytes));
    this.#line.push({ handle, context, payload: parts.request });
    this.#startNext();
  }

  #startNext(): void {
    while (this.#loaded && this.#line.length > 0 && this.#running.size < this.#concurrency) {
      const turn = this.#line[0]?.context.ahead ? this.#takeTurn() : 1;
      if (turn < 0) return this.#startSoon();
      const call = this.#line.shift();
      // Without a turn, the worker has taken the call back to run it elsewhere.
      if (turn > 0 && call) void this.#invoke(this.#loaded, call);
      else if (call) this.#bodies.delete(call.handle);
    }
  }

  #bodyOf(handle: number, bytes: number): BodyStream {
    return new BodyStream(bytes, (taken) => {
      this.#send(ChannelKind.BODY_CREDIT, handle, ...putBodyCredit({ bytes: taken }));
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
    const hooks = new StopHooks();
    const invocation: Invocation = {
      handle,
      hooks,
      context: told,
      ...(body && { body }),
      send: (kind, ...parts) => {
        // Sent ahead of the answer, because the worker writes the record when it gets the answer.
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
    const open: OpenInvocation = { hooks, pending, settled: false };
    this.#running.set(handle, open);
    this.#ids.set(handle, told.id);
    this.#ids.delete(handle - MAX_IDS);
    if (this.#unreached.size > 0) this.#unreached.clear();
    // Processes and threads of earlier invocations may have ended meanwhile.
    if ((this.#othersTold & OTHERS_RUN) !== 0) {
      this.#tellOthers();
      this.flush();
    }
    beginTracing(handle, told.traceparent, told.tracestate);
    await currentHandle.run(handle, async () => {
      try {
        await loaded.answer(invocation, payload, toContext(told, pending));
      } catch (error) {
        // A trap of a thrown proxy would answer `instanceof`.
        const isOurs =
          isError(error) && (error instanceof BadResponseError || error instanceof NoHandlerError);
        const outcome = isOurs ? error.outcome : 'error';
        for (const to of safely(() => destinationsOf(error))) this.unreached(handle, to);
        const described = describeError(error);
        // The stack of the platform's own error shows only the platform.
        if (isOurs) delete described.stack;
        console.error(described.stack ?? `${described.name}: ${described.message}`);
        tellOpenSpans(handle);
        this.#send(ChannelKind.FAILED, handle, failure(outcome, described));
      }
      while (pending.size > 0) await Promise.allSettled(pending);
      this.#running.delete(handle);
      open.settled = true;
      endTracing(handle);
      if (body) {
        body.drop();
        this.#bodies.delete(handle);
      }
      endOutput(handle);
      this.#tellDropped(handle);
      this.#tellOthers();
      this.#send(ChannelKind.SETTLED, handle);
      open.onSettled?.();
    });
    if (this.#line.length === 0) return;
    // Send this invocation's output before the next one can do harm. Its leftovers, such as an unhandled rejection, surface in a
    // turn of their own.
    this.flush();
    this.#startSoon();
  }
}

function toContext(told: InvokeContext, pending: Set<Promise<unknown>>): FunctionContext {
  const deadline = performance.now() + told.remainingMs;
  return {
    invocationId: told.id,
    traceparent: told.traceparent,
    // Whole, because timers and BigInt take nothing else.
    remainingMs: () => Math.max(0, Math.floor(deadline - performance.now())),
    waitUntil: (promise) => {
      const settled = Promise.resolve(promise)
        .catch((error: unknown) => console.error('waitUntil:', error))
        .finally(() => pending.delete(settled));
      pending.add(settled);
    },
  };
}

/** Reads a thrown value whose getters are the function's own, and may throw. */
function safely(read: () => string[]): string[] {
  try {
    return read();
  } catch {
    return [];
  }
}

function failure(outcome: FailedReport['outcome'], error: ReturnType<typeof describeError>): Buffer {
  return Buffer.from(JSON.stringify({ outcome, error }));
}
