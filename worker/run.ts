/**
 * One run of a function in a sandbox: hands over the request, passes the answer on, watches the clock, and says how it
 * ended. Settles only when the code has stopped: a caller is never told "timeout" while the function still runs.
 */
import { StringDecoder } from 'node:string_decoder';
import { ChannelKind, type FailedReport } from '#contract/channel.ts';
import type { FunctionError } from '#contract/invocation.ts';
import type { CallHeader } from '#contract/lane.ts';
import type { Outcome } from '#contract/outcome.ts';
import { BodyFeed, type RequestBody } from './body-feed.ts';
import type { CpuClock } from './cpu-clock.ts';
import { whyEnded } from './exit-cause.ts';
import { FunctionSpans } from './function-spans.ts';
import type { Lease } from './pool/function-pool.ts';
import { readLogFrame, refusedLine, type InvocationLog } from './invocation-log.ts';
import type { InvocationSink, Sandbox } from './sandbox/sandbox.ts';
import { describeExit } from './sandbox/zygote.ts';
import { LateSink } from './late-output.ts';

/** How a run ended. `payload` is the response when all of it came in one piece. */
export interface RunEnd {
  /** It has not run at all: the sandbox was busy for too long, or has ended before its turn. */
  readonly withdrawn?: true;
  readonly outcome: Outcome;
  readonly error?: FunctionError;
  readonly exitCause?: string;
  readonly payload?: Buffer;
  /** System calls that were refused until then, each once. */
  readonly refusedCalls?: readonly string[];
  /** Part of the response has been passed on already. */
  readonly streamed: boolean;
}

/** What ends a run that does not end by itself. */
export interface RunLimits {
  readonly timeoutMs: number;
  readonly responseBytes: number;
  /** How long a streamed response may go without a byte while its reader would take more. */
  readonly streamIdleMs: number;
  /** Processor time. Other runs of the same sandbox count as well: nobody can tell whose time it was. */
  readonly cpu?: { readonly limitMs: number; readonly cores: number };
}

export interface RunParts {
  readonly lease: Pick<Lease, 'sandbox' | 'shared' | 'begin'>;
  readonly call: Pick<CallHeader, 'id' | 'traceparent' | 'tracestate'>;
  readonly limits: RunLimits;
  readonly cpuClock: CpuClock;
  readonly payload: Buffer;
  /** The body of the request when it is not in the payload. */
  readonly body?: RequestBody | undefined;
  readonly log: InvocationLog;
  readonly target: StreamTarget;
}

/** Where a streamed response goes. */
export interface StreamTarget {
  head(payload: Buffer): void;
  chunk(bytes: Buffer): void;
}

const MAX_ERROR_TEXT = 16 * 1024;
const MAX_REFUSED_CALLS = 16;
/** The frames of a run that has settled are read within this. */
const SETTLING_MS = 100;

const UNCLAIMED_NOTE =
  'something was printed of which nobody can say whether it is of this invocation: it is in the log of the function, as unclaimed';

/** Why a run is ended before it has ended itself. */
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
  /** Settles with the answer, or with why there is none. */
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
  /** Runs from the begin of the code, not from its handing over. */
  #clock: NodeJS.Timeout | undefined;
  #idleClock: NodeJS.Timeout | undefined;
  /** When the last piece of a streamed response came, by performance.now(). */
  #movedAt = 0;
  readonly #feed: BodyFeed | undefined;
  #stopCpuClock: (() => void) | undefined;
  #begunAt: number | undefined;
  #cpuAtBegin = 0;
  #responseBytes = 0;
  #killedFor: StopReason | undefined;
  #stopDetail: FunctionError | undefined;
  readonly #refused = new Set<string>();
  /** A character may come in two pieces. */
  readonly #decoders: { stdout?: StringDecoder; stderr?: StringDecoder } = {};
  /** Those of the function's own that it has begun so far, when there are any. */
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

  /** By performance.now(); undefined while it waits for its turn. */
  get begunAt(): number | undefined {
    return this.#begunAt;
  }

  /** Processor time that the sandbox has used since the begin. */
  cpuMs(): number {
    return this.#begunAt === undefined ? 0 : this.#sandbox.cpuMs() - this.#cpuAtBegin;
  }

  cancel(): void {
    this.#cancelled = true;
    if (this.#begunAt !== undefined) return this.#stop('cancelled');
    // Another invocation may be running there. If this one can be taken back, it never runs, and withdrawn() says so;
    // otherwise the sandbox has started it, and begun() comes.
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

  /** The gateway has passed on so many bytes of the stream. */
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
        // What comes without end is counted as output is that nobody keeps.
        if (!isKept) this.#sandbox.discarded(payload.length);
        return;
      }
      case ChannelKind.SPANS_DROPPED:
        this.#sandbox.discarded(payload.length);
        if (payload.length === 4) (this.spans ??= new FunctionSpans()).drop(payload.readUInt32LE(0));
        return;
      case ChannelKind.BODY_CREDIT:
        if (!this.#feed?.credit(payload)) this.#sandbox.kill('misbehaved');
        return;
      case ChannelKind.SETTLED:
        return this.#close();
      default:
        // Nothing honest sends anything else.
        this.#sandbox.kill('misbehaved');
    }
  }

  output(level: 'stdout' | 'stderr', bytes: Buffer): void {
    if (this.#log.full) return this.#discard(bytes, false);
    const decoder = (this.#decoders[level] ??= new StringDecoder('utf8'));
    this.#log.add({ time: Date.now(), level, text: decoder.write(bytes) });
  }

  /** Half of a character, of which nothing more comes, is shown as what it is. */
  #endOutput(): void {
    for (const level of ['stdout', 'stderr'] as const) {
      const text = this.#decoders[level]?.end() ?? '';
      if (text !== '') this.#log.add({ time: Date.now(), level, text });
    }
  }

  /** Told once for each kind of call: whoever tries one tries it again. */
  refused(call: string): void {
    if (this.#refused.has(call) || this.#refused.size >= MAX_REFUSED_CALLS) return;
    this.#refused.add(call);
    this.#log.add({ time: Date.now(), level: 'platform', text: refusedLine(call) });
  }

  /** Told once: whoever misses something here shall know where to look. */
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

  /** The clock of a stream that stands still, from its first byte on. */
  #moved(): void {
    this.#movedAt = performance.now();
    this.#idleClock = setTimeout(() => this.#checkIdle(), this.#limits.streamIdleMs);
  }

  /** It counts from the last byte, or from when its reader, or another reader of the sandbox, no longer held it up. */
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

  /** Nothing that the function makes of half of its input may count. */
  #failedInput(message: string): void {
    this.#stopDetail = { name: 'Error', message };
    this.#stop('platform_error');
  }

  #stop(reason: StopReason): void {
    if (this.#killedFor) return;
    // From here on the sandbox can start nothing more. Has it started the next one already? Then this one has settled, its
    // answer is on the way, and the kill would hit another caller's.
    this.#sandbox.turns.withdraw();
    if (this.#sandbox.turns.ahead > 0 && !this.#believed) {
      // That it has started the next one is the sandbox's own word, so it is believed once, and for a moment: code that took
      // turns which are not its own would otherwise never be stopped.
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

  /** The first answer counts; what a function says after it does not. */
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

/** What a sandbox says of its failure is a tenant's word: read what fits, cut what is long. */
export function readFailure(payload: Buffer): { outcome: 'error' | 'bad_response'; error: FunctionError } {
  let report: Partial<FailedReport> = {};
  try {
    report = JSON.parse(payload.toString('utf8')) as Partial<FailedReport>;
  } catch {
    // Falls through to the text below.
  }
  return {
    outcome: report?.outcome === 'bad_response' ? 'bad_response' : 'error',
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
