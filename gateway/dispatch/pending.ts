/** A call that was sent to Redis and has no answer yet, and the interfaces between it and its caller. */
import type { Canceller, RunReport } from '#contract/invocations/invocation.ts';
import type { OffshootError } from '#contract/api/errors.ts';
import type { Failed } from '#contract/invocations/outcome.ts';
import type { Backlog } from '#contract/platform/pace.ts';

/** The reason why a call has no response, or only a part of one. */
export interface Failure {
  readonly outcome: Failed;
  /** Set for `cancelled`. */
  readonly cancelledBy?: Canceller | undefined;
  /** The facts of this case, where the outcome's general meaning is not enough. */
  readonly message?: string;
  /** The worker's report, if it sent one. */
  readonly report?: RunReport | undefined;
  /** The calls ahead of a refused call and their pace, for its Retry-After. */
  readonly backlog?: Backlog;
  /** Set when the request never became an invocation. The caller then gets this error instead of the outcome. */
  readonly error?: OffshootError;
}

/** Receiver of an answer: `result`; or `head`, any number of `chunk`, and `end`. At any point `failed` may come as the last. */
export interface CallSink {
  /** The whole response payload (contract/wire/payload.ts). */
  result(payload: Buffer, report: RunReport): void;
  /** The first part of a streamed response. The report is preliminary, and its outcome means nothing. */
  head(payload: Buffer, report: RunReport | undefined): void;
  chunk(bytes: Buffer): void;
  end(report: RunReport): void;
  failed(failure: Failure): void;
  /** The call has not ended within 100 ms, and is in its lane, or with this worker. */
  lasting?(worker: string | undefined): void;
}

/** The caller's side of a call under way. */
export interface OpenCall {
  /** Ends the call. The sink still learns how it ended. Without `by`, the answer is not needed any more. */
  cancel(by?: Canceller): void;
  /** Another `bytes` bytes of the streamed body have reached the caller. */
  credit(bytes: number): void;
}

export class PendingCall {
  readonly id: string;
  readonly lane: string;
  readonly sink: CallSink;
  /** By performance.now(). */
  readonly sentAt: number = performance.now();
  readonly deadline: number;
  /** Size of the frame, for the sum over all pending calls. */
  readonly bytes: number;
  /** The frame as it is in the lane, while it may still be there. */
  #frame: Buffer | undefined;
  #worker: string | undefined;
  /** Set once the call is to end; `by` as in OpenCall. */
  cancel: { readonly by: Canceller | undefined } | undefined;
  /** Time at which the call was missing from its lane after the death of a worker, though no worker had announced it. */
  missingSince: number | undefined;
  /** The worker in the last lasting() of the sink; empty for none. */
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

  /** The worker that announced the call as taken. A call that is answered within milliseconds is never announced. */
  get worker(): string | undefined {
    return this.#worker;
  }

  takenBy(worker: string): void {
    this.#worker = worker;
    this.#frame = undefined;
    this.missingSince = undefined;
  }
}
