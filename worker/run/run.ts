/**
 * Runs a function once in a sandbox: hands over the request, passes the answer on, enforces time limits, and reports how the run
 * ended. Settles only when the code has stopped: a caller never gets "timeout" while the function still runs. Its states:
 *
 *   waiting ---> running -----------------> answered ---> settled      settled: the sandbox can take the next one, or is gone
 *      |            |                           ^
 *      v            +---> streaming ------------+                      answered: the end is known, waitUntil() may go on
 *   withdrawn
 *
 * A run may be stopped in each state between waiting and settled. Then its code gets a grace (grace.ts). If it ends by itself, the
 * sandbox goes on; else the sandbox is killed, and the end of that settles the run.
 * A frame that fits no state comes from no honest sandbox, and ends the sandbox.
 */
import { StringDecoder } from 'node:string_decoder';
import { ChannelKind, readSpansDropped, type InvokeContext } from '#contract/wire/channel.ts';
import type { Canceller, FunctionError } from '#contract/invocations/invocation.ts';
import type { CallHeader } from '#contract/platform/lane.ts';
import { hasGrace, OUTCOMES, type Outcome, type StopReason } from '#contract/invocations/outcome.ts';
import { BodyFeed, type RequestBody } from './body-feed.ts';
import type { CpuClock } from './cpu-clock.ts';
import { readFailure } from './failure.ts';
import { whyEnded } from '../sandbox/zygote/exit-cause.ts';
import { FunctionSpans } from './function-spans.ts';
import type { Lease } from '../pool/function-pool.ts';
import { readLogFrame, refusedLine, type InvocationLog } from './invocation-log.ts';
import { Grace } from '../sandbox/grace.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { InvocationSink } from '../sandbox/sinks.ts';
import { describeExit } from '../sandbox/zygote/zygote.ts';
import { LateSink } from './late-output.ts';
import { Unreached } from './refused-network.ts';

/** The end of a run. `payload` is the response, when all of it came in one piece. */
export interface RunEnd {
  /** Set when the code has not run at all: the sandbox was busy for too long, or ended before the run's turn. */
  readonly withdrawn?: true;
  readonly outcome: Outcome;
  /** Set for `cancelled`, unless its result is discarded. */
  readonly cancelledBy?: Canceller | undefined;
  readonly error?: FunctionError;
  readonly exitCause?: string;
  readonly payload?: Buffer;
  /** System calls refused until the end, each once. */
  readonly refusedCalls?: readonly string[];
  /** True when a part of the response has been passed on already. */
  readonly streamed: boolean;
  /** Set if the sandbox says that it ended before it read the invocation. A tenant may have sent that. */
  readonly unread?: true;
  /** Set if the code of a stopped run has ended by itself, so that its sandbox is as good as before. */
  readonly byItself?: true;
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

const MAX_REFUSED_CALLS = 16;
/** Time limit for reading the frames of a run that has settled. */
const SETTLING_MS = 100;

const UNCLAIMED_NOTE =
  'output was printed that may or may not be of this invocation: it is in the log of the function, as unclaimed';

/** Frames of an answer. */
const ANSWERS: ReadonlySet<number> = new Set([
  ChannelKind.RESULT,
  ChannelKind.HEAD,
  ChannelKind.CHUNK,
  ChannelKind.END,
  ChannelKind.FAILED,
]);

type State = 'waiting' | 'withdrawn' | 'running' | 'streaming' | 'answered' | 'settled';

/** States that may follow each. */
const FOLLOWS: Readonly<Record<State, readonly State[]>> = {
  waiting: ['running', 'withdrawn'],
  withdrawn: [],
  running: ['streaming', 'answered'],
  streaming: ['answered'],
  answered: ['settled'],
  settled: [],
};

/** A stop that was asked for. `killed`: the code is being ended for it. */
interface Stop {
  readonly reason: StopReason;
  /** Cause, where the reason is not enough. */
  readonly error?: FunctionError | undefined;
  readonly killed: boolean;
}

export class Run implements InvocationSink {
  /** Settles with the answer, or with the reason why there is none. */
  readonly ended: Promise<RunEnd>;
  /** Settles when the sandbox can take the next invocation, or is gone. */
  readonly settled: Promise<void>;
  readonly #sandbox: Sandbox;
  readonly #log: InvocationLog;
  readonly #target: StreamTarget;
  /** Set by start(). */
  #handle = 0;
  readonly #limits: RunLimits;
  readonly #cpuClock: CpuClock;
  readonly #lease: RunParts['lease'];
  readonly #context: InvokeContext;
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
  #state: State = 'waiting';
  #stopped: Stop | undefined;
  #grace: Grace | undefined;
  /** Set if the end of the grace has waited for the last frame. */
  #believed = false;
  /** Set if the sandbox did not answer the stop. */
  #wasBusy = false;
  /** Set once a cancel was asked for; `by` is absent if the result is discarded. */
  #cancel: { readonly by: Canceller | undefined } | undefined;
  readonly #refused = new Set<string>();
  /** Decoders, because a character may come in two pieces. */
  readonly #decoders: { stdout?: StringDecoder; stderr?: StringDecoder } = {};
  /** Destinations that a sandbox without a network could not reach; undefined when it has told none. */
  unreached: Unreached | undefined;
  /** The function's own spans until now; undefined when it has begun none. */
  spans: FunctionSpans | undefined;
  #toldUnclaimed = false;
  #uncredited = 0;
  #unwatch: () => void = () => undefined;
  #end: (end: RunEnd) => void = () => undefined;
  #settle: () => void = () => undefined;

  constructor({ lease, call, limits, cpuClock, body, log, target }: RunParts) {
    const { sandbox } = lease;
    this.#sandbox = sandbox;
    this.#log = log;
    this.#target = target;
    this.#limits = limits;
    this.#cpuClock = cpuClock;
    this.#lease = lease;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.settled = new Promise((resolve) => {
      this.#settle = resolve;
    });
    const { id, traceparent, tracestate } = call;
    this.#context = {
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
  }

  /**
   * Hands the invocation over, with the payload of its request; to be called once. begun() may come before this returns, and frames
   * only later.
   */
  start(payload: Buffer): void {
    this.#handle = this.#sandbox.invoke(this.#context, payload, this, this.#lease.shared);
    this.#unwatch = this.#sandbox.whenEnded(() => this.#sandboxEnded());
  }

  #become(next: State): void {
    if (!FOLLOWS[this.#state].includes(next))
      throw new Error(`a run cannot go from ${this.#state} to ${next}`);
    this.#state = next;
  }

  get isAnswered(): boolean {
    return this.#state === 'answered' || this.#state === 'settled';
  }

  /** Time at which the code began, by performance.now(); undefined while it waits for its turn. */
  get begunAt(): number | undefined {
    return this.#begunAt;
  }

  /** Processor time in milliseconds that the sandbox has used since the code began. */
  cpuMs(): number {
    return this.#begunAt === undefined ? 0 : this.#sandbox.usage.cpuMs() - this.#cpuAtBegin;
  }

  /** Stops the run. Without `by`, its result is discarded. */
  cancel(by: Canceller | undefined): void {
    this.#cancel ??= { by };
    if (this.#state !== 'waiting') return this.#stop('cancelled');
    // Another invocation may be running there. If this one can be taken back, it never runs, and withdrawn() says so. Otherwise
    // the sandbox has started it, and begun() comes.
    this.#sandbox.turns.withdraw();
  }

  begun(): void {
    this.#become('running');
    this.#begunAt = performance.now();
    this.#cpuAtBegin = this.#sandbox.usage.cpuMs();
    const { timeoutMs, cpu } = this.#limits;
    this.#clock = setTimeout(() => this.#stop('timeout'), timeoutMs);
    if (cpu) {
      const onLimit = (): void => this.#stop('cpu_limit');
      this.#stopCpuClock = this.#cpuClock.watch({ ...cpu, cpuMs: () => this.cpuMs(), onLimit });
    }
    this.#lease.begin();
    this.#feed?.start();
    if (this.#cancel) this.#stop('cancelled');
  }

  withdrawn(): void {
    this.#become('withdrawn');
    this.#unwatch();
    this.#end(
      this.#cancel
        ? { outcome: 'cancelled', cancelledBy: this.#cancel.by, streamed: false }
        : { outcome: 'platform_error', streamed: false, withdrawn: true },
    );
    this.#settle();
  }

  /** Takes the gateway's report of bytes of the stream that it has passed on. */
  credit(bytes: number): void {
    this.#uncredited -= bytes;
    this.#sandbox.flow.credit(bytes);
  }

  frame(kind: number, payload: Buffer): void {
    // The answer of a stopped run has no receiver.
    if (this.#grace && ANSWERS.has(kind)) return;
    switch (kind) {
      case ChannelKind.STOPPING:
        return this.#grace?.answered(payload);
      case ChannelKind.RESULT:
        // The gateway has the head of another answer.
        if (this.#state === 'streaming') return this.#sandbox.kill('misbehaved');
        return this.#finish({ outcome: 'ok', payload, streamed: false });
      case ChannelKind.HEAD:
        if (this.#state !== 'running') return;
        this.#become('streaming');
        this.#responseBytes = payload.length;
        this.#moved();
        return this.#target.head(payload);
      case ChannelKind.CHUNK:
        return this.#passOn(payload);
      case ChannelKind.END:
        if (this.#state === 'streaming') this.#finish({ outcome: 'ok', streamed: true });
        return;
      case ChannelKind.FAILED:
        return this.#finish({ ...readFailure(payload), streamed: this.#state === 'streaming' });
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
        if (!isKept) this.#sandbox.flow.discarded(payload.length);
        return;
      }
      case ChannelKind.SPANS_DROPPED: {
        this.#sandbox.flow.discarded(payload.length);
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
        if (this.#grace) return this.#endedByItself();
        // Released without an answer, the run would have neither an end nor a time limit.
        if (this.#state !== 'answered') return this.#sandbox.kill('misbehaved');
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
    this.#sandbox.flow.discarded(bytes.length);
  }

  #passOn(bytes: Buffer): void {
    if (this.#state !== 'streaming') return;
    this.#responseBytes += bytes.length;
    this.#movedAt = performance.now();
    if (this.#responseBytes > this.#limits.responseBytes) return this.#stop('response_too_large');
    this.#uncredited += bytes.length;
    this.#sandbox.flow.addUncredited(bytes.length);
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
    if (this.#state !== 'streaming') return;
    const { readableSince } = this.#sandbox.flow;
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
    this.#stop('platform_error', { name: 'Error', message });
  }

  #stop(reason: StopReason, error?: FunctionError): void {
    if (this.#stopped?.killed || this.#state === 'withdrawn' || this.#state === 'settled') return;
    // From here on the sandbox can start no other call. If it has started the next one already, this run has settled, and its
    // answer is on the way. Then the kill would hit another caller's run.
    this.#sandbox.turns.withdraw();
    if (this.#sandbox.turns.ahead > 0 && !this.#stopped) {
      // Only the sandbox itself reports that it has started the next call. So believe it once, and for a moment: code that takes
      // others' turns could otherwise never be stopped.
      this.#stopped = { reason, killed: false };
      clearTimeout(this.#clock);
      this.#clock = setTimeout(() => this.#stop(reason, error), SETTLING_MS);
      return;
    }
    this.#stopped = { reason, error, killed: true };
    if (this.#state === 'answered') this.#logLateEnd(OUTCOMES[reason].stop);
    clearTimeout(this.#clock);
    if (!hasGrace(reason)) return this.#sandbox.kill(reason);
    this.#grace = new Grace((isBusy) => this.#graceOver(reason, isBusy));
    this.#sandbox.stop(this.#handle, { alone: !this.#lease.shared, reason: OUTCOMES[reason].stop });
    // The sandbox is read again, however slow the reader of the stopped stream was.
    this.#creditAll();
  }

  /** Ends the code of a stopped run that has not ended by itself. */
  #graceOver(reason: StopReason, isBusy: boolean): void {
    // Calls were handed ahead in the grace too. If the sandbox has started one, this run has settled, and its last frame is on the
    // way. As in #stop(), believe that once and for a moment.
    this.#sandbox.turns.withdraw();
    if (this.#sandbox.turns.ahead > 0 && !this.#believed) {
      this.#believed = true;
      this.#clock = setTimeout(() => this.#graceOver(reason, isBusy), SETTLING_MS);
      return;
    }
    this.#wasBusy = isBusy;
    // Other invocations run beside it, and their code makes progress: leave it to run until they have ended.
    if (this.#sandbox.neighbours > 0 && !isBusy) return this.#abandon(reason);
    if (isBusy || !this.#lease.shared) this.#sandbox.kill(reason);
    else this.#sandbox.dismiss(reason, OUTCOMES[reason].stop);
  }

  #abandon(reason: StopReason): void {
    this.#sandbox.retire();
    this.#finish(this.#stopEnd(reason));
    this.#close();
  }

  #endedByItself(): void {
    const reason = this.#stopped?.reason;
    if (reason) this.#finish({ ...this.#stopEnd(reason), byItself: true });
    this.#close();
  }

  #stopEnd(reason: StopReason): RunEnd {
    return {
      outcome: reason,
      streamed: this.#state === 'streaming',
      ...(reason === 'cancelled' && { cancelledBy: this.#cancel?.by }),
      ...(this.#stopped?.error && { error: this.#stopped.error }),
    };
  }

  /** Ends the run by its first answer; later ones do not count. */
  #finish(end: RunEnd): void {
    if (this.#state !== 'running' && this.#state !== 'streaming') return;
    this.#become('answered');
    this.#end(this.#refused.size > 0 ? { ...end, refusedCalls: [...this.#refused] } : end);
  }

  #sandboxEnded(): void {
    const { exit } = this.#sandbox;
    if (exit && this.#state !== 'answered') {
      const exitCause = describeExit(exit);
      if (this.#sandbox.hasDiedIdle && this.#state === 'running' && !this.#stopped) {
        this.#finish({ outcome: 'crashed', exitCause, streamed: false, unread: true });
        return this.#close();
      }
      const blamed = this.#blamed();
      if (blamed !== undefined) {
        const error = { name: 'EndedByAnother', message: blamed };
        this.#finish({
          outcome: 'ended_by_another',
          error,
          exitCause,
          streamed: this.#state === 'streaming',
        });
        return this.#close();
      }
      const stop = this.#stopped?.killed ? this.#stopped : undefined;
      const outcome = stop?.reason ?? whyEnded(exit, this.#sandbox.usage.now.oomKills);
      const end = stop ? this.#stopEnd(stop.reason) : { outcome, streamed: this.#state === 'streaming' };
      this.#finish({ ...end, exitCause });
    } else if (this.#sandbox.end === 'out_of_memory') this.#logLateEnd('its sandbox ran out of memory');
    this.#close();
  }

  /**
   * Why the end of the sandbox is not this run's, or not known to be. The runtime tells the others itself whose error or exit ended
   * the process; a kill for memory, a crash and a busy loop do not say whose they are.
   */
  #blamed(): string | undefined {
    const { end, unansweredAtEnd } = this.#sandbox;
    if (unansweredAtEnd < 2) return undefined;
    const those = `${unansweredAtEnd} invocations that ran in the sandbox`;
    if (this.#stopped?.killed) return this.#wasBusy ? `one of ${those} kept its thread busy` : undefined;
    return `one of ${those} ended the process (${end})`;
  }

  #logLateEnd(because: string): void {
    this.#log.add({
      time: Date.now(),
      level: 'platform',
      text: `work left to waitUntil() was ended: ${because}`,
    });
  }

  #close(): void {
    this.#become('settled');
    this.#endOutput();
    this.#unwatch();
    clearTimeout(this.#clock);
    clearTimeout(this.#idleClock);
    this.#grace?.close();
    this.#feed?.stop();
    this.#stopCpuClock?.();
    this.#sandbox.release(this.#handle);
    this.#creditAll();
    this.#settle();
  }

  #creditAll(): void {
    if (this.#uncredited > 0) this.#sandbox.flow.credit(this.#uncredited);
    this.#uncredited = 0;
  }
}
