/**
 * Runs a function once in a sandbox: hands over the request, passes the answer on, enforces time limits, and reports how the run
 * ended. Settles only when the code has stopped: a caller never gets "timeout" while the function still runs.
 */
import { StringDecoder } from 'node:string_decoder';
import { ChannelKind, readSpansDropped, type FailedReport } from '#contract/wire/channel.ts';
import type { FunctionError } from '#contract/invocations/invocation.ts';
import type { CallHeader } from '#contract/platform/lane.ts';
import type { Outcome } from '#contract/invocations/outcome.ts';
import { BodyFeed, type RequestBody } from './body-feed.ts';
import type { CpuClock } from './cpu-clock.ts';
import { whyEnded } from '../sandbox/exit-cause.ts';
import { FunctionSpans } from './function-spans.ts';
import type { Lease } from '../pool/function-pool.ts';
import { readLogFrame, refusedLine, type InvocationLog } from './invocation-log.ts';
import type { InvocationSink, Sandbox } from '../sandbox/sandbox.ts';
import { describeExit } from '../sandbox/zygote.ts';
import { LateSink } from './late-output.ts';
import { Unreached } from './refused-network.ts';

/** The end of a run. `payload` is the response, when all of it came in one piece. */
export interface RunEnd {
  /** Set when the code has not run at all: the sandbox was busy for too long, or ended before the run's turn. */
  readonly withdrawn?: true;
  readonly outcome: Outcome;
  readonly error?: FunctionError;
  readonly exitCause?: string;
  readonly payload?: Buffer;
  /** System calls refused until the end, each once. */
  readonly refusedCalls?: readonly string[];
  /** True when a part of the response has been passed on already. */
  readonly streamed: boolean;
}

/** Limits at which a run is stopped. */
export interface RunLimits {
  readonly timeoutMs: number;
  readonly responseBytes: number;
  /** Time limit between two pieces of a streamed response, while its reader would take more. */
  readonly streamIdleMs: number;
  /** Limit on processor time. Other runs of the same sandbox count too, because the kernel does not tell whose time it was. */
  readonly cpu?: { readonly limitMs: number; readonly cores: number };
}

export interface RunParts {
  readonly lease: Pick<Lease, 'sandbox' | 'shared' | 'begin'>;
  readonly call: Pick<CallHeader, 'id' | 'traceparent' | 'tracestate'>;
  readonly limits: RunLimits;
  readonly cpuClock: CpuClock;
  readonly payload: Buffer;
  /** The request's body, when it is not in the payload. */
  readonly body?: RequestBody | undefined;
  readonly log: InvocationLog;
  readonly target: StreamTarget;
}

/** Receiver of a streamed response. */
export interface StreamTarget {
  head(payload: Buffer): void;
  chunk(bytes: Buffer): void;
}

const MAX_ERROR_TEXT = 16 * 1024;
const MAX_REFUSED_CALLS = 16;
/** Time limit for reading the frames of a run that has settled. */
const SETTLING_MS = 100;

const UNCLAIMED_NOTE =
  'output was printed that may or may not be of this invocation: it is in the log of the function, as unclaimed';

/** Reason for which a run is stopped before it ends by itself. */
type StopReason =
  | 'timeout'
  | 'cpu_limit'
  | 'stream_idle'
  | 'cancelled'
  | 'response_too_large'
  | 'platform_error';

const STOP_TEXTS: Readonly<Record<StopReason, string>> = {
  timeout: 'the time limit is over',
  cpu_limit: 'the processor time is used up',
  stream_idle: 'the response had stood still for too long',
  cancelled: 'the invocation was cancelled',
  response_too_large: 'the response was larger than its limit',
  platform_error: 'the platform failed',
};

export class Run implements InvocationSink {
  /** Settles with the answer, or with the reason why there is none. */
  readonly ended: Promise<RunEnd>;
  /** Settles when the sandbox can take the next invocation, or is gone. */
  readonly settled: Promise<void>;
  readonly #sandbox: Sandbox;
  readonly #log: InvocationLog;
  readonly #target: StreamTarget;
  readonly #handle: number;
  readonly #limits: RunLimits;
  readonly #cpuClock: CpuClock;
  readonly #onBegin: () => void;
  /** Timer of the time limit; starts with the code, not when the call is handed over. */
  #clock: NodeJS.Timeout | undefined;
  #idleClock: NodeJS.Timeout | undefined;
  /** Time at which the last piece of a streamed response came, by performance.now(). */
  #movedAt = 0;
  readonly #feed: BodyFeed | undefined;
  #stopCpuClock: (() => void) | undefined;
  #begunAt: number | undefined;
  #cpuAtBegin = 0;
  #responseBytes = 0;
  #killedFor: StopReason | undefined;
  #stopDetail: FunctionError | undefined;
  readonly #refused = new Set<string>();
  /** Decoders, because a character may come in two pieces. */
  readonly #decoders: { stdout?: StringDecoder; stderr?: StringDecoder } = {};
  /** Destinations that a sandbox without a network could not reach; undefined when it has told none. */
  unreached: Unreached | undefined;
  /** The function's own spans until now; undefined when it has begun none. */
  spans: FunctionSpans | undefined;
  #toldUnclaimed = false;
  #streamed = false;
  #uncredited = 0;
  #done = false;
  #cancelled = false;
  #withdrawn = false;
  #believed = false;
  readonly #unwatch: () => void;
  #end: (end: RunEnd) => void = () => undefined;
  #settle: () => void = () => undefined;

  constructor({ lease, call, limits, cpuClock, payload, body, log, target }: RunParts) {
    const { sandbox } = lease;
    this.#sandbox = sandbox;
    this.#log = log;
    this.#target = target;
    this.#limits = limits;
    this.#cpuClock = cpuClock;
    this.#onBegin = lease.begin;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.settled = new Promise((resolve) => {
      this.#settle = resolve;
    });
    const { id, traceparent, tracestate } = call;
    const context = {
      id,
      remainingMs: limits.timeoutMs,
      traceparent,
      ...(tracestate !== undefined && { tracestate }),
      ...(body && { bodyBytes: body.bytes }),
    };
    this.#feed =
      body &&
      new BodyFeed({
        body,
        send: (piece) => sandbox.sendBody(this.#handle, piece),
        failed: (reason) => this.#failedInput(reason),
      });
    this.#handle = sandbox.invoke(context, payload, this, lease.shared);
    this.#unwatch = sandbox.whenEnded(() => this.#sandboxEnded());
  }

  /** Time at which the code began, by performance.now(); undefined while it waits for its turn. */
  get begunAt(): number | undefined {
    return this.#begunAt;
  }

  /** Processor time in milliseconds that the sandbox has used since the code began. */
  cpuMs(): number {
    return this.#begunAt === undefined ? 0 : this.#sandbox.cpuMs() - this.#cpuAtBegin;
  }

  cancel(): void {
    this.#cancelled = true;
    if (this.#begunAt !== undefined) return this.#stop('cancelled');
    // Another invocation may be running there. If this one can be taken back, it never runs, and withdrawn() says so. Otherwise
    // the sandbox has started it, and begun() comes.
    this.#sandbox.turns.withdraw();
  }

  begun(): void {
    this.#begunAt = performance.now();
    this.#cpuAtBegin = this.#sandbox.cpuMs();
    const { timeoutMs, cpu } = this.#limits;
    this.#clock = setTimeout(() => this.#stop('timeout'), timeoutMs);
    if (cpu) {
      const onLimit = (): void => this.#stop('cpu_limit');
      this.#stopCpuClock = this.#cpuClock.watch({ ...cpu, cpuMs: () => this.cpuMs(), onLimit });
    }
    this.#onBegin();
    this.#feed?.start();
    if (this.#cancelled) this.#stop('cancelled');
  }

  withdrawn(): void {
    this.#unwatch();
    this.#withdrawn = true;
    this.#done = true;
    this.#end(
      this.#cancelled
        ? { outcome: 'cancelled', streamed: false }
        : { outcome: 'platform_error', streamed: false, withdrawn: true },
    );
    this.#settle();
  }

  /** Takes the gateway's report of bytes of the stream that it has passed on. */
  credit(bytes: number): void {
    this.#uncredited -= bytes;
    this.#sandbox.credit(bytes);
  }

  frame(kind: number, payload: Buffer): void {
    switch (kind) {
      case ChannelKind.RESULT:
        return this.#finish({ outcome: 'ok', payload, streamed: false });
      case ChannelKind.HEAD:
        if (this.#done || this.#streamed) return;
        this.#streamed = true;
        this.#responseBytes = payload.length;
        this.#moved();
        return this.#target.head(payload);
      case ChannelKind.CHUNK:
        return this.#passOn(payload);
      case ChannelKind.END:
        if (this.#streamed) this.#finish({ outcome: 'ok', streamed: true });
        return;
      case ChannelKind.FAILED:
        return this.#finish({ ...readFailure(payload), streamed: this.#streamed });
      case ChannelKind.LOG: {
        if (this.#log.full) return this.#discard(payload, true);
        const text = readLogFrame(payload);
        if (text) this.#log.add(text);
        return;
      }
      case ChannelKind.SPAN_BEGUN:
      case ChannelKind.SPAN: {
        this.spans ??= new FunctionSpans();
        const isKept = kind === ChannelKind.SPAN ? this.spans.end(payload) : this.spans.begin(payload);
        // Surplus spans count as discarded output, so a flood of them slows the sandbox down as a flood of logs does.
        if (!isKept) this.#sandbox.discarded(payload.length);
        return;
      }
      case ChannelKind.SPANS_DROPPED: {
        this.#sandbox.discarded(payload.length);
        const dropped = readSpansDropped(payload);
        if (dropped) (this.spans ??= new FunctionSpans()).drop(dropped.count);
        return;
      }
      case ChannelKind.BODY_CREDIT:
        if (!this.#feed?.credit(payload)) this.#sandbox.kill('misbehaved');
        return;
      case ChannelKind.UNREACHED:
        return (this.unreached ??= new Unreached()).add(payload);
      case ChannelKind.SETTLED:
        return this.#close();
      default:
        // The platform's own code sends no other frames.
        this.#sandbox.kill('misbehaved');
    }
  }

  output(level: 'stdout' | 'stderr', bytes: Buffer): void {
    if (this.#log.full) return this.#discard(bytes, false);
    const decoder = (this.#decoders[level] ??= new StringDecoder('utf8'));
    this.#log.add({ time: Date.now(), level, text: decoder.write(bytes) });
  }

  /** Logs an incomplete character at the end of the output as a replacement character. */
  #endOutput(): void {
    for (const level of ['stdout', 'stderr'] as const) {
      const text = this.#decoders[level]?.end() ?? '';
      if (text !== '') this.#log.add({ time: Date.now(), level, text });
    }
  }

  /** Logs a refused call once for each kind: code that tries a call tries it again. */
  refused(call: string): void {
    if (this.#refused.has(call) || this.#refused.size >= MAX_REFUSED_CALLS) return;
    this.#refused.add(call);
    this.#log.add({ time: Date.now(), level: 'platform', text: refusedLine(call) });
  }

  /** Adds a note once, so that a reader who misses output knows where to look. */
  unclaimed(): void {
    if (this.#toldUnclaimed) return;
    this.#toldUnclaimed = true;
    this.#log.add({ time: Date.now(), level: 'platform', text: UNCLAIMED_NOTE });
  }

  afterwards(): InvocationSink {
    return new LateSink(() => this.#log, 'late', this.#sandbox);
  }

  #discard(bytes: Buffer, isFrame: boolean): void {
    this.#log.discard(bytes, isFrame);
    this.#sandbox.discarded(bytes.length);
  }

  #passOn(bytes: Buffer): void {
    if (this.#done || !this.#streamed) return;
    this.#responseBytes += bytes.length;
    this.#movedAt = performance.now();
    if (this.#responseBytes > this.#limits.responseBytes) return this.#stop('response_too_large');
    this.#uncredited += bytes.length;
    this.#sandbox.addUncredited(bytes.length);
    this.#target.chunk(bytes);
  }

  /** Starts the timer for a stream without progress, at its first byte. */
  #moved(): void {
    this.#movedAt = performance.now();
    this.#idleClock = setTimeout(() => this.#checkIdle(), this.#limits.streamIdleMs);
  }

  /**
   * Stops a stream without progress. The time counts from the last byte, or from the end of a pause in reading, if a slow reader
   * caused one.
   */
  #checkIdle(): void {
    if (this.#done) return;
    const { readableSince } = this.#sandbox;
    const { streamIdleMs } = this.#limits;
    const left =
      readableSince === undefined
        ? streamIdleMs
        : Math.max(this.#movedAt, readableSince) + streamIdleMs - performance.now();
    if (left <= 0) return this.#stop('stream_idle');
    this.#idleClock = setTimeout(() => this.#checkIdle(), left);
  }

  /** Stops a run whose input is incomplete: no result based on half of the input may count. */
  #failedInput(message: string): void {
    this.#stopDetail = { name: 'Error', message };
    this.#stop('platform_error');
  }

  #stop(reason: StopReason): void {
    if (this.#killedFor) return;
    // From here on the sandbox can start no other call. If it has started the next one already, this run has settled, and its
    // answer is on the way. Then the kill would hit another caller's run.
    this.#sandbox.turns.withdraw();
    if (this.#sandbox.turns.ahead > 0 && !this.#believed) {
      // Only the sandbox itself reports that it has started the next call. So believe it once, and for a moment: code that takes
      // others' turns could otherwise never be stopped.
      this.#believed = true;
      clearTimeout(this.#clock);
      this.#clock = setTimeout(() => this.#stop(reason), SETTLING_MS);
      return;
    }
    this.#killedFor = reason;
    if (this.#done) {
      this.#log.add({ time: Date.now(), level: 'platform', text: lateEnd(STOP_TEXTS[reason]) });
    }
    this.#sandbox.kill(reason);
  }

  /** Ends the run by its first answer; later ones do not count. */
  #finish(end: RunEnd): void {
    if (this.#done) return;
    this.#done = true;
    this.#end(this.#refused.size > 0 ? { ...end, refusedCalls: [...this.#refused] } : end);
  }

  #sandboxEnded(): void {
    if (this.#withdrawn) return;
    const { exit } = this.#sandbox;
    if (exit && !this.#done) {
      const exitCause = describeExit(exit);
      const outcome = this.#killedFor ?? whyEnded(exit, this.#sandbox.usage().oomKills);
      const error = this.#killedFor === 'platform_error' && this.#stopDetail;
      this.#finish({ outcome, exitCause, streamed: this.#streamed, ...(error && { error }) });
    } else if (this.#sandbox.end === 'out_of_memory') {
      this.#log.add({ time: Date.now(), level: 'platform', text: lateEnd('its sandbox ran out of memory') });
    }
    this.#close();
  }

  #close(): void {
    this.#endOutput();
    this.#unwatch();
    clearTimeout(this.#clock);
    clearTimeout(this.#idleClock);
    this.#feed?.stop();
    this.#stopCpuClock?.();
    this.#sandbox.release(this.#handle);
    if (this.#uncredited > 0) this.#sandbox.credit(this.#uncredited);
    this.#uncredited = 0;
    this.#settle();
  }
}

function lateEnd(because: string): string {
  return `work left to waitUntil() was ended: ${because}`;
}

/** Reads a sandbox's report of its failure. A tenant wrote it: keep the valid parts, and cut long ones. */
export function readFailure(payload: Buffer): {
  outcome: FailedReport['outcome'];
  error: FunctionError;
} {
  let report: Partial<FailedReport> = {};
  try {
    report = JSON.parse(payload.toString('utf8')) as Partial<FailedReport>;
  } catch {
    // Falls through to the text below.
  }
  const outcome = report?.outcome;
  return {
    outcome: outcome === 'bad_response' || outcome === 'no_handler' ? outcome : 'error',
    error: readError(report?.error),
  };
}

export function readError(value: unknown): FunctionError {
  const given = (typeof value === 'object' && value !== null ? value : {}) as Partial<
    Record<keyof FunctionError, unknown>
  >;
  const text = (part: unknown, otherwise: string): string =>
    typeof part === 'string' ? part.slice(0, MAX_ERROR_TEXT) : otherwise;
  return {
    name: text(given.name, 'Error'),
    message: text(given.message, 'the function failed without saying why'),
    ...(typeof given.stack === 'string' && { stack: given.stack.slice(0, MAX_ERROR_TEXT) }),
  };
}
