/**
 * Sends a call to a worker and passes the answer on. Every route to a function goes through invoke().
 *
 *   gateway                     Redis                          worker
 *     CALL  ------------------> lane of the namespace --------->
 *           <------------------ reply list of this gateway <---- TAKEN   (only when it takes longer than a few ms)
 *           <---------------------------------------------- RESULT | HEAD CHUNK... END | FAILED
 *     CREDIT, CANCEL ---------> control list of the worker ----->
 *
 * The gateway holds the deadline. A call ends exactly once, by the first of: an answer, the deadline, the death of its
 * worker (watch.ts), the disconnect of its caller.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import {
  decodeLaneFrame,
  encodeLaneFrame,
  LaneKind,
  type BlobRef,
  type CallHeader,
  type ControlHeader,
  type ReplyHeader,
  type TakenHeader,
} from '#contract/platform/lane.ts';
import { type AnyLaneReader, type AnyLaneReaderOptions, openLaneReader } from '#storage/lane/cluster-lane.ts';
import type { Canceller } from '#contract/invocations/invocation.ts';
import { isFailure, OUTCOMES } from '#contract/invocations/outcome.ts';
import { Pace } from '#contract/platform/pace.ts';
import { LaneWriter } from '#storage/lane/lane.ts';
import type { Log } from '#storage/log.ts';
import { redisError } from '#storage/redis/redis.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { PendingCall, type CallSink, type Failure, type OpenCall } from './pending.ts';
import type { Target } from './target.ts';
import { WorkerWatch } from './watch.ts';

/** Upper bounds on pending calls and on the bytes of their frames. A call beyond either is refused, so memory stays bounded. */
const MAX_PENDING_CALLS = 20_000;
const MAX_PENDING_BYTES = 512 * 1024 * 1024;
/** Upper bound on the replies that one read fetches from Redis. */
const REPLIES_AT_ONCE = 256;
/** Time limit for the worker's report on a cancelled call. */
const CANCEL_PATIENCE_MS = 1_000;
/** Time by which the gateway's deadline exceeds the worker's, so that the worker's more exact report arrives first. */
const DEADLINE_SLACK_MS = 500;
const SHUTDOWN: Canceller = { by: 'shutdown' };

export interface Call {
  readonly id: string;
  readonly target: Target;
  readonly operation: CallHeader['operation'];
  readonly traceparent: string;
  readonly tracestate?: string | undefined;
  /** Parts of the request payload, in order. */
  readonly payload: readonly Uint8Array[];
  /** The body of the request in the artifact store, when the payload does not hold it. */
  readonly input?: BlobRef | undefined;
}

export interface DispatcherOptions {
  readonly gatewayId: string;
  readonly lane: Redis;
  readonly blocking: AnyLaneReaderOptions['blocking'];
  readonly commands: Redis;
  readonly queueTimeoutMs: number;
  readonly log: Log;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #writer: LaneWriter;
  readonly #reader: AnyLaneReader;
  readonly #pending = new Map<string, PendingCall>();
  readonly #watch: WorkerWatch;
  /** Pace of answered calls. Calls without an answer do not count, because they do not show when there is room. */
  readonly #ended = new Pace();
  #pendingBytes = 0;
  #idle: (() => void) | undefined;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#writer = new LaneWriter(options.lane);
    const replies = [keys.replies(options.gatewayId)];
    this.#reader = openLaneReader({
      blocking: options.blocking,
      commands: options.commands,
      keys: () => replies,
      count: () => REPLIES_AT_ONCE,
      onFrames: (_list, frames) => this.#onFrames(frames),
      log: options.log,
    });
    this.#watch = new WorkerWatch({
      commands: options.commands,
      pending: this.#pending,
      fail: (call, failure) => this.#fail(call, failure),
      log: options.log,
    });
  }

  start(): void {
    this.#reader.start();
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** Resolves when no call is pending, or after `patienceMs`. */
  async drain(patienceMs: number): Promise<void> {
    if (this.#pending.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle = resolve;
    const timer = setTimeout(resolve, patienceMs);
    await promise;
    clearTimeout(timer);
  }

  /** Cancels the pending calls and reads no more replies. */
  async stop(): Promise<void> {
    this.#watch.stop();
    for (const call of this.#pending.values()) {
      this.#control(LaneKind.CANCEL, call, { by: SHUTDOWN });
      this.#fail(call, { outcome: 'cancelled', cancelledBy: SHUTDOWN, message: 'the gateway was stopped' });
    }
    await this.#reader.stop();
  }

  invoke(call: Call, sink: CallSink): OpenCall {
    const { queueTimeoutMs, gatewayId } = this.#options;
    const { id, target } = call;
    const patienceMs = queueTimeoutMs + target.runMs + DEADLINE_SLACK_MS;
    const header: CallHeader = {
      id,
      namespace: target.namespace,
      name: target.name,
      version: target.version,
      operation: call.operation,
      deadline: sharedNow() + patienceMs,
      gateway: gatewayId,
      traceparent: call.traceparent,
      ...(call.tracestate !== undefined && { tracestate: call.tracestate }),
      ...(call.input && { input: { key: call.input.key, bytes: call.input.bytes } }),
    };
    const frame = encodeLaneFrame(LaneKind.CALL, header, ...call.payload);
    const pending = new PendingCall(id, target.lane, frame, sink, patienceMs);
    if (this.#pending.size >= MAX_PENDING_CALLS || this.#pendingBytes + frame.length > MAX_PENDING_BYTES) {
      // Deferred, because the caller has no OpenCall before this function returns.
      queueMicrotask(() => sink.failed(this.#withBacklog({ outcome: 'overloaded' })));
      return { cancel: () => undefined, credit: () => undefined };
    }
    this.#pending.set(id, pending);
    this.#pendingBytes += frame.length;
    pending.timer = setTimeout(() => void this.#queueTimeElapsed(pending), queueTimeoutMs);
    this.#writer.push(target.lane, frame).catch((error: unknown) => this.#refused(pending, error));
    this.#watch.wake();
    return {
      cancel: (by) => void this.#cancel(pending, by),
      credit: (bytes) => this.#control(LaneKind.CREDIT, pending, { bytes }),
    };
  }

  #onFrames(frames: readonly Buffer[]): void {
    for (const bytes of frames) {
      try {
        this.#onFrame(bytes);
      } catch (error) {
        this.#options.log.error({ err: error }, 'a reply could not be handled');
      }
    }
  }

  #onFrame(bytes: Buffer): void {
    const { kind, header, body } = decodeLaneFrame(bytes);
    if (kind === LaneKind.TAKEN) {
      const { worker, ids } = header as TakenHeader;
      for (const id of ids) this.#taken(this.#pending.get(id), worker);
      return;
    }
    const reply = header as ReplyHeader;
    const call = this.#pending.get(reply.id);
    if (!call) return; // ended already: lost, cancelled or timed out
    switch (kind) {
      case LaneKind.RESULT:
        this.#answered(call);
        if (!reply.report) return call.sink.failed(unreported(reply.worker));
        return call.sink.result(body, reply.report);
      case LaneKind.HEAD:
        this.#taken(call, reply.worker);
        return call.sink.head(body, reply.report);
      case LaneKind.CHUNK:
        return call.sink.chunk(body);
      case LaneKind.END:
        this.#answered(call);
        if (!reply.report) return call.sink.failed(unreported(reply.worker));
        return call.sink.end(reply.report);
      case LaneKind.FAILED: {
        this.#answered(call);
        if (reply.lost) return call.sink.failed(lostOnItsWay(reply.worker));
        const { report } = reply;
        if (!report || !isFailure(report.outcome)) return call.sink.failed(unreported(reply.worker));
        const { outcome, cancelledBy } = report;
        return call.sink.failed(this.#withBacklog({ outcome, ...(cancelledBy && { cancelledBy }), report }));
      }
      default:
        this.#options.log.warn({ kind }, 'a reply of an unknown kind; is the worker of another version?');
    }
  }

  #taken(call: PendingCall | undefined, worker: string): void {
    if (!call) return;
    const first = call.worker === undefined;
    call.takenBy(worker);
    if (first && call.cancel) this.#control(LaneKind.CANCEL, call, call.cancel);
  }

  /** Ends the wait of a call in Redis. A call that is still in its lane is taken out, and then certainly never runs. */
  async #queueTimeElapsed(call: PendingCall): Promise<void> {
    if (call.worker === undefined && (await this.#withdraw(call))) {
      const message = `it waited for ${this.#options.queueTimeoutMs} ms, OFFSHOOT_QUEUE_TIMEOUT_MS of the gateway`;
      this.#fail(call, { outcome: 'expired', message });
    } else if (this.#pending.has(call.id)) {
      call.timer = setTimeout(() => this.#deadlinePassed(call), call.deadline - performance.now());
    }
  }

  #deadlinePassed(call: PendingCall): void {
    if (call.worker === undefined) return this.#fail(call, { outcome: 'expired' });
    this.#control(LaneKind.CANCEL, call);
    this.#fail(call, { outcome: 'timeout' });
  }

  async #cancel(call: PendingCall, by: Canceller | undefined): Promise<void> {
    if (call.cancel || !this.#pending.has(call.id)) return;
    call.cancel = { by };
    const failure: Failure = { outcome: 'cancelled', cancelledBy: by };
    if (call.worker !== undefined) this.#control(LaneKind.CANCEL, call, { by });
    else if (await this.#withdraw(call))
      return this.#fail(call, {
        ...failure,
        message: 'the caller disconnected before a worker took the call',
      });
    if (!this.#pending.has(call.id)) return;
    clearTimeout(call.timer);
    call.timer = setTimeout(() => this.#fail(call, failure), CANCEL_PATIENCE_MS);
  }

  /** Takes the call out of the lane. True when it was there, so that no worker will ever run it. */
  async #withdraw(call: PendingCall): Promise<boolean> {
    if (!call.frame) return false;
    try {
      return (await this.#options.commands.lrem(call.lane, 1, call.frame)) === 1;
    } catch {
      return false; // Redis is unavailable, so it is unknown where the call is
    }
  }

  #control(
    kind: typeof LaneKind.CANCEL | typeof LaneKind.CREDIT,
    call: PendingCall,
    header: Pick<ControlHeader, 'bytes' | 'by'> = {},
  ): void {
    if (call.worker === undefined) return;
    const frame = encodeLaneFrame(kind, { id: call.id, ...header });
    this.#writer.push(keys.control(call.worker), frame).catch((error: unknown) => {
      this.#options.log.warn({ error: String(error), id: call.id }, 'a control frame did not reach Redis');
    });
  }

  #refused(call: PendingCall, error: unknown): void {
    const refusal = redisError(error);
    this.#fail(call, { outcome: 'platform_error', error: refusal, message: refusal.message });
  }

  #fail(call: PendingCall, failure: Failure): void {
    if (!this.#pending.has(call.id)) return;
    this.#forget(call);
    call.sink.failed(this.#withBacklog(failure));
  }

  /** Adds the backlog to a 503, for its Retry-After. */
  #withBacklog(failure: Failure): Failure {
    if (failure.error || OUTCOMES[failure.outcome].status !== 503) return failure;
    const backlog = { waiting: this.#pending.size, endedPerSecond: this.#ended.perSecond() };
    return { ...failure, backlog };
  }

  #answered(call: PendingCall): void {
    this.#ended.add();
    this.#forget(call);
  }

  #forget(call: PendingCall): void {
    clearTimeout(call.timer);
    this.#pending.delete(call.id);
    this.#pendingBytes -= call.bytes;
    if (this.#pending.size === 0) this.#idle?.();
  }
}

function unreported(worker: string): Failure {
  return { outcome: 'platform_error', message: `worker ${worker} answered without a report` };
}

function lostOnItsWay(worker: string): Failure {
  const message = `the function has run, but a part of its answer was lost between worker ${worker} and Redis`;
  return { outcome: 'platform_error', message };
}
