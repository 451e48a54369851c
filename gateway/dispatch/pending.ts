/** Calls that have been handed to Redis and not yet answered. */
import type { RunReport } from '#contract/invocations/invocation.ts';
import type { OffshootError } from '#contract/api/errors.ts';
import type { Outcome } from '#contract/invocations/outcome.ts';
import type { Backlog } from '#contract/platform/pace.ts';

/** Why a call has no (whole) response. */
export interface Failure {
  readonly outcome: Exclude<Outcome, 'ok'>;
  /** The facts of this case, where the outcome's own meaning does not say enough. */
  readonly message?: string;
  /** What the worker said of it, when it could. */
  readonly report?: RunReport | undefined;
  /** What was in front of a call for which there was no room, for its Retry-After. */
  readonly backlog?: Backlog;
  /** Set when the request never became an invocation: it is answered instead of the outcome. */
  readonly error?: OffshootError;
}

/** Where the answer goes: `result`, or `head`, any number of `chunk` and `end`, or at any point `failed` and no more. */
export interface CallSink {
  /** The whole response payload (contract/wire/payload.ts). */
  result(payload: Buffer, report: RunReport): void;
  /** The first part of a streamed response. The report is the one so far: it has no outcome to speak of. */
  head(payload: Buffer, report: RunReport | undefined): void;
  chunk(bytes: Buffer): void;
  end(report: RunReport): void;
  failed(failure: Failure): void;
  /** It lasts: more than a moment has gone, and it is in a queue, or with this worker. */
  lasting?(worker: string | undefined): void;
}

/** The caller's side of a call under way. */
export interface OpenCall {
  /** The caller has gone away. The sink is still told how it ended. */
  cancel(): void;
  /** So many more bytes of the streamed body have reached the caller. */
  credit(bytes: number): void;
}

export class PendingCall {
  readonly id: string;
  readonly lane: string;
  readonly sink: CallSink;
  /** By performance.now(). */
  readonly sentAt: number = performance.now();
  readonly deadline: number;
  /** Size of the frame, for the account of what all pending calls hold. */
  readonly bytes: number;
  /** The frame as it lies in the lane, for as long as it may still lie there. */
  #frame: Buffer | undefined;
  #worker: string | undefined;
  /** The caller has gone away. */
  cancelled = false;
  /** Set when it was seen missing from the lane after a worker had died, though nobody has said that it took it. */
  missingSince: number | undefined;
  /** What its sink was last told by lasting(). */
  shown: string | undefined;
  timer: NodeJS.Timeout | undefined;

  constructor(id: string, lane: string, frame: Buffer, sink: CallSink, patienceMs: number) {
    this.id = id;
    this.lane = lane;
    this.#frame = frame;
    this.bytes = frame.length;
    this.sink = sink;
    this.deadline = this.sentAt + patienceMs;
  }

  get frame(): Buffer | undefined {
    return this.#frame;
  }

  /** The worker that said it has the call. A call that is answered within milliseconds is never announced as taken. */
  get worker(): string | undefined {
    return this.#worker;
  }

  takenBy(worker: string): void {
    this.#worker = worker;
    this.#frame = undefined;
    this.missingSince = undefined;
  }
}
