/**
 * The ends of an invocation: one closed list, shared by HTTP, both lanes, sandboxes, metrics, alerts, dashboard, logs and traces.
 * The behaviour of each follows from a column of this table. The layers of an end, each with a table of its own:
 *
 *   end of a sandbox (contract/platform/sandbox-end.ts) -> outcome of a run, an attempt, an invocation (here)
 *                                          -> a dead letter, and for which reason (dead-letter.ts)
 *                                          -> if it was cancelled, its canceller (canceller.ts)
 *
 * No zod, so that the dashboard can bundle it; the schema is `Outcome` in invocation.ts.
 */
import { inEachLanguage } from '../functions/runtimes.ts';
import type { DeadReason } from './dead-letter.ts';

interface OutcomeFacts {
  /** HTTP status for a caller who waits; for `ok` it is the function's own status. */
  readonly status: number;
  /** Party at fault: `user` is the function or its caller, `system` is the platform or its operator. */
  readonly fault: 'none' | 'user' | 'system';
  /**
   * Next step of the queued lane: `retry`; `done` after a success or a requested end; or the reason for which the invocation becomes
   * a dead letter at once. For `ok`, the status that the function answered decides (hasFailed() in retry.ts).
   */
  readonly queued: 'retry' | 'done' | DeadReason;
  /** True if an attempt that ended so has taken its sandbox or worker along. POISON_KILLS of them make a dead letter. */
  readonly poison: boolean;
  /**
   * Fate of the sandbox that ran it. `kept`: the next invocation may get it. `spent`: it takes no further invocation. `ended`: it ends
   * with this one, because a sandbox in an unknown state is never used again. `none`: no sandbox has run it, or none is known.
   */
  readonly sandbox: 'kept' | 'spent' | 'ended' | 'none';
  /** Set if a run is stopped for this reason. Says so in the log, after "work left to waitUntil() was ended:". */
  readonly stop?: string;
  /** Set if the code of a run that is stopped so is told first, and has a grace. The others use what is used up, or lack their input. */
  readonly grace?: true;
  /** Set if the attempt is not the invocation's own doing: up to MAX_FREE of them are not counted, and the next one comes at once. */
  readonly free?: true;
  /** Set if the process of a function ends so by itself, without the worker. */
  readonly own?: true;
  /** Set if a function can end so while its module loads. */
  readonly load?: true;
  /** Set if the runtime in the sandbox reports it (FailedReport in channel.ts). */
  readonly told?: true;
  /** Alert in infra/monitoring/alerts.yml that counts it: OffshootFunctionFails, or that and OffshootPlatformFailures. */
  readonly alert: 'none' | 'function' | 'platform';
  /** Explanation for a person. */
  readonly meaning: string;
  /** Next step for that person. `ID` stands for the id of the invocation; see nextWith(). */
  readonly next: string;
}

export const OUTCOMES = {
  ok: {
    status: 200,
    fault: 'none',
    queued: 'done',
    poison: false,
    sandbox: 'kept',
    alert: 'none',
    meaning: 'the function answered',
    next: '',
  },
  error: {
    status: 500,
    fault: 'user',
    queued: 'retry',
    poison: false,
    sandbox: 'kept',
    told: true,
    alert: 'function',
    meaning: 'the function threw an error or rejected its promise',
    next: 'read the stack in the logs of this invocation: offshoot trace ID',
  },
  bad_response: {
    status: 502,
    fault: 'user',
    queued: 'not_retried',
    poison: false,
    sandbox: 'kept',
    told: true,
    alert: 'function',
    meaning: 'the function returned something that is not a response',
    next: inEachLanguage('badResponse'),
  },
  no_handler: {
    status: 501,
    fault: 'user',
    queued: 'not_retried',
    poison: false,
    sandbox: 'kept',
    told: true,
    alert: 'function',
    meaning: 'the function has no handler for this kind of call',
    next: 'export fetch() for requests and events, scheduled() for a schedule, queue() or fetch() for the items of a batch',
  },
  load_error: {
    status: 502,
    fault: 'user',
    queued: 'not_retried',
    poison: false,
    sandbox: 'ended',
    load: true,
    alert: 'function',
    meaning: 'the module of the function failed while it was loading',
    next: 'see the error and the line of your source: offshoot deploy',
  },
  load_timeout: {
    status: 504,
    fault: 'user',
    queued: 'retry',
    poison: false,
    sandbox: 'ended',
    load: true,
    alert: 'function',
    meaning: 'the function took too long to load',
    next: 'do less at the top level of the module, or raise "initTimeout" in offshoot.json',
  },
  isolation_unmet: {
    status: 501,
    fault: 'user',
    queued: 'not_retried',
    poison: false,
    sandbox: 'ended',
    load: true,
    alert: 'function',
    meaning: 'the host does not offer the isolation that the function requires',
    next: 'run it on a host that does, or remove the missing requirement from "isolation.require" in offshoot.json',
  },
  timeout: {
    status: 504,
    fault: 'user',
    queued: 'retry',
    poison: false,
    sandbox: 'ended',
    stop: 'the time limit is over',
    grace: true,
    alert: 'function',
    meaning: 'the function did not finish within its time limit and was killed',
    next: 'raise "timeout" in offshoot.json, or make the function faster',
  },
  cpu_limit: {
    status: 504,
    fault: 'user',
    queued: 'not_retried',
    poison: false,
    sandbox: 'ended',
    stop: 'the processor time is used up',
    alert: 'function',
    meaning: 'the function used more processor time than its limit and was killed',
    next: 'raise "cpuTime" in offshoot.json, or do less in one run',
  },
  stream_idle: {
    status: 504,
    fault: 'user',
    queued: 'retry',
    poison: false,
    sandbox: 'ended',
    stop: 'the response had stood still for too long',
    grace: true,
    alert: 'function',
    meaning:
      'the function sent nothing of its streamed response for longer than its limit, while its reader was ready for more, and was killed',
    next: 'raise "streamIdleTimeout" in offshoot.json, or send something during the pause, such as a comment line',
  },
  out_of_memory: {
    status: 502,
    fault: 'user',
    queued: 'retry',
    poison: true,
    sandbox: 'ended',
    load: true,
    alert: 'function',
    meaning: 'the function used more memory than its limit and was killed',
    next: 'raise "memory" in offshoot.json',
  },
  pids_limit: {
    status: 502,
    fault: 'user',
    queued: 'not_retried',
    poison: false,
    // Processes that the run left behind take up the room of the next run.
    sandbox: 'spent',
    load: true,
    alert: 'function',
    meaning: 'the function failed because it reached its limit of processes and threads',
    next: 'raise "pids" in offshoot.json, or start fewer processes and threads',
  },
  exited: {
    status: 502,
    fault: 'user',
    queued: 'retry',
    poison: true,
    sandbox: 'ended',
    own: true,
    load: true,
    alert: 'function',
    meaning: 'the function ended its own process before it answered',
    next: inEachLanguage('exited'),
  },
  crashed: {
    status: 502,
    fault: 'user',
    queued: 'retry',
    poison: true,
    sandbox: 'ended',
    own: true,
    load: true,
    alert: 'function',
    meaning: 'the process of the function was ended by a signal',
    next: 'read the logs of this invocation; native code is the usual cause',
  },
  ended_by_another: {
    status: 502,
    fault: 'user',
    queued: 'retry',
    poison: false,
    free: true,
    sandbox: 'ended',
    told: true,
    alert: 'function',
    meaning: 'another invocation of the function, which ran in the same sandbox, ended the process of both',
    next: 'call again; to keep invocations apart, set "concurrency" to 1 in offshoot.json, or correct the invocation that the error names',
  },
  response_too_large: {
    status: 502,
    fault: 'user',
    queued: 'not_retried',
    poison: false,
    sandbox: 'ended',
    stop: 'the response was larger than its limit',
    grace: true,
    alert: 'function',
    meaning: 'the function sent a larger response than its limit and was killed',
    next: 'raise "responseSize" in offshoot.json, or answer with less',
  },
  cancelled: {
    status: 499,
    fault: 'user',
    queued: 'done',
    poison: false,
    sandbox: 'ended',
    stop: 'the invocation was cancelled',
    grace: true,
    alert: 'none',
    meaning: 'the invocation was cancelled before it ended',
    next: 'call again if the result is still needed',
  },
  function_removed: {
    // The same as for every later call.
    status: 404,
    fault: 'user',
    queued: 'done',
    poison: false,
    sandbox: 'none',
    alert: 'none',
    meaning:
      'the function, or the version of it for this invocation, was removed before the invocation could begin',
    next: 'deploy the function and call it again; to queue a queued invocation again: offshoot replay ID',
  },
  expired: {
    status: 503,
    fault: 'system',
    queued: 'expired',
    poison: false,
    sandbox: 'none',
    alert: 'platform',
    meaning: 'no worker took the invocation before its deadline',
    next: 'check that a worker runs and has room: offshoot doctor; the longest wait is "queueTime" in offshoot.json, or OFFSHOOT_QUEUE_TIMEOUT_MS of the gateway for a caller who waits',
  },
  worker_lost: {
    status: 502,
    fault: 'system',
    queued: 'retry',
    poison: true,
    sandbox: 'none',
    alert: 'platform',
    meaning:
      'the worker that ran the invocation died or stood still; it is not known whether the function finished',
    next: 'call again if the function may safely run twice',
  },
  overloaded: {
    status: 503,
    fault: 'system',
    queued: 'retry',
    poison: false,
    sandbox: 'none',
    alert: 'platform',
    meaning: 'the platform has no room for another invocation now',
    next: 'call again after the number of seconds in Retry-After',
  },
  platform_error: {
    status: 500,
    fault: 'system',
    queued: 'retry',
    poison: false,
    sandbox: 'ended',
    stop: 'the platform failed',
    load: true,
    alert: 'platform',
    meaning: 'the platform failed, not the function',
    next: "read the log of the worker, and report it if it is not this host's configuration",
  },
} as const satisfies Readonly<Record<string, OutcomeFacts>>;

export type Outcome = keyof typeof OUTCOMES;

/** All outcomes, in the order of the table. */
export const OUTCOME_NAMES = Object.keys(OUTCOMES) as readonly Outcome[];

/** The outcomes whose row has these columns. */
type OutcomeWith<Columns> = {
  [O in Outcome]: (typeof OUTCOMES)[O] extends Columns ? O : never;
}[Outcome];

/** Reason for which a run is stopped before it ends by itself. */
export type StopReason = OutcomeWith<{ readonly stop: string }>;
/** End of a function whose module was being loaded. */
export type LoadFailure = OutcomeWith<{ readonly load: true }>;
/** Failure that the runtime in the sandbox reports. */
export type ToldFailure = OutcomeWith<{ readonly told: true }>;
/** Outcome with which the sandbox ends. */
export type EndingOutcome = OutcomeWith<{ readonly sandbox: 'ended' }>;

/** Outcome of an invocation whose function did not answer. */
export type Failed = OutcomeWith<{ readonly fault: 'user' | 'system' }>;

/** True unless the function answered. */
export function isFailure(outcome: Outcome): outcome is Failed {
  return OUTCOMES[outcome].fault !== 'none';
}

/** True if the code of a run that is stopped for this reason is told first. */
export function hasGrace(reason: StopReason): boolean {
  return 'grace' in OUTCOMES[reason];
}

/** True for an attempt that another invocation ended. */
export function isFree(outcome: Outcome | undefined): boolean {
  return outcome !== undefined && 'free' in OUTCOMES[outcome];
}

/** True for the end of a sandbox whose process has ended by itself. */
export function isOwnEnd(end: string | undefined): boolean {
  return OUTCOME_NAMES.some((outcome) => outcome === end && 'own' in OUTCOMES[outcome]);
}

/** True for a failure that the runtime in a sandbox may report; `name`: the text that the sandbox sent. */
export function isToldFailure(name: unknown): name is ToldFailure {
  return OUTCOME_NAMES.some((outcome) => outcome === name && 'told' in OUTCOMES[outcome]);
}

/** True for an end that a person or client asked for: never retried, and no dead letter. */
export function wasRequested(outcome: Outcome): boolean {
  return isFailure(outcome) && OUTCOMES[outcome].queued === 'done';
}
