/** Holds the identity and the times of one invocation, from its request to its record. */
import type {
  Canceller,
  InvocationRecord,
  OpenInvocation,
  RunReport,
} from '#contract/invocations/invocation.ts';
import type { Outcome } from '#contract/invocations/outcome.ts';
import {
  formatTraceparent,
  parseTraceparent,
  parseTracestate,
  runSpanId,
} from '#contract/invocations/trace.ts';
import { called, ended, type Identity } from '#contract/invocations/transitions.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { newInvocationId, newSpanId, newTraceId } from './ids.ts';
import type { Target } from './target.ts';

export class Invocation {
  readonly id = newInvocationId();
  readonly target: Target;
  readonly method: string;
  readonly path: string;
  /** Unix time at which the request arrived. */
  readonly startedAt: number;
  /** The same moment by performance.now(). */
  readonly #arrived: number;
  #sent = 0;
  readonly #traceId: string;
  readonly #spanId = newSpanId();
  readonly #parentSpanId: string | undefined;
  readonly #sampled: boolean;
  readonly tracestate: string | undefined;
  requestBytes = 0;
  /** Invocation whose input this one repeats. */
  replayOf: string | undefined;

  constructor(
    target: Target,
    request: {
      method: string;
      path: string;
      traceparent: string | undefined;
      tracestate: string | undefined;
    },
    arrived: number,
  ) {
    this.target = target;
    this.method = request.method;
    this.path = request.path;
    this.#arrived = arrived;
    this.startedAt = sharedNow() - (performance.now() - arrived);
    const parent = parseTraceparent(request.traceparent);
    this.#traceId = parent?.traceId ?? newTraceId();
    this.#parentSpanId = parent?.spanId;
    this.#sampled = parent?.sampled ?? true;
    // Without a valid traceparent, tracestate means nothing: https://www.w3.org/TR/trace-context/#tracestate-header
    this.tracestate = parent && parseTracestate(request.tracestate);
  }

  /** Trace context for the function, whose spans become children of the run phase. */
  get traceparent(): string {
    return formatTraceparent({
      traceId: this.#traceId,
      spanId: runSpanId(this.#spanId),
      sampled: this.#sampled,
    });
  }

  /** Notes that the call goes to Redis now. */
  sent(): void {
    this.#sent = performance.now();
  }

  /** Milliseconds in the gateway, and in Redis and in transit, as far as they are known. */
  waits(report: RunReport | undefined): { gateway: number; queue: number } {
    const roundTrip = performance.now() - this.#sent;
    return {
      gateway: this.#sent - this.#arrived,
      queue: Math.max(0, roundTrip - (report?.timings.total ?? 0)),
    };
  }

  /** The record that is shown before the end. */
  called(worker: string | undefined): OpenInvocation {
    return called(this.identity('sync'), worker);
  }

  record(
    end: {
      outcome: Outcome;
      status: number;
      responseBytes: number;
      report: RunReport | undefined;
      message?: string | undefined;
      cancelledBy?: Canceller | undefined;
    },
    waits: { gateway: number; queue: number },
  ): InvocationRecord {
    return ended(this.identity('sync'), { ...end, ...waits, duration: performance.now() - this.#arrived });
  }

  identity(lane: OpenInvocation['lane']): Identity {
    const { namespace, name, version } = this.target;
    return {
      id: this.id,
      namespace,
      name,
      version,
      lane,
      method: this.method,
      path: this.path,
      traceId: this.#traceId,
      spanId: this.#spanId,
      ...(this.#parentSpanId !== undefined && { parentSpanId: this.#parentSpanId }),
      ...(this.tracestate !== undefined && { tracestate: this.tracestate }),
      sampled: this.#sampled,
      startedAt: this.startedAt,
      requestBytes: this.requestBytes,
      ...(this.replayOf !== undefined && { replayOf: this.replayOf }),
    };
  }
}
