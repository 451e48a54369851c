/**
 * The ends of an invocation: one closed list, shared by HTTP, queue, logs and traces. One table says how each of these treats
 * each member. The `satisfies` makes the compiler refuse a member without a row.
 */
import { z } from 'zod';
import { inEachLanguage } from '../functions/runtimes.ts';

export const Outcome = z.enum([
  'ok',
  'error',
  'bad_response',
  'no_handler',
  'load_error',
  'load_timeout',
  'isolation_unmet',
  'timeout',
  'cpu_limit',
  'stream_idle',
  'out_of_memory',
  'pids_limit',
  'exited',
  'crashed',
  'response_too_large',
  'cancelled',
  'function_removed',
  'expired',
  'worker_lost',
  'overloaded',
  'platform_error',
]);
export type Outcome = z.infer<typeof Outcome>;

interface OutcomeFacts {
  /** HTTP status for a caller who waits; for `ok` it is the function's own status. */
  readonly status: number;
  /** Party at fault: `user` is the function or its caller, `system` is the platform or its operator. */
  readonly fault: 'none' | 'user' | 'system';
  /** True if the queued lane retries it automatically. False if a retry would end the same way, or if the end was requested. */
  readonly retried: boolean;
  /** True if the sandbox ends with it. A sandbox in an unknown state is never used again. */
  readonly sandboxEnds: boolean;
  /** Explanation for a person. */
  readonly meaning: string;
  /** Next step for that person. `ID` stands for the id of the invocation; see nextWith(). */
  readonly next: string;
}

export const OUTCOMES = {
  ok: {
    status: 200,
    fault: 'none',
    retried: false,
    sandboxEnds: false,
    meaning: 'the function answered',
    next: '',
  },
  error: {
    status: 500,
    fault: 'user',
    retried: true,
    sandboxEnds: false,
    meaning: 'the function threw an error or rejected its promise',
    next: 'read the stack in the logs of this invocation: offshoot trace ID',
  },
  bad_response: {
    status: 502,
    fault: 'user',
    retried: false,
    sandboxEnds: false,
    meaning: 'the function returned something that is not a response',
    next: inEachLanguage('badResponse'),
  },
  no_handler: {
    status: 501,
    fault: 'user',
    retried: false,
    sandboxEnds: false,
    meaning: 'the function has no handler for this kind of call',
    next: 'export fetch() for requests and events, scheduled() for a schedule, queue() or fetch() for the items of a batch',
  },
  load_error: {
    status: 502,
    fault: 'user',
    retried: false,
    sandboxEnds: true,
    meaning: 'the module of the function failed while it was loading',
    next: 'see the error and the line of your source: offshoot deploy',
  },
  load_timeout: {
    status: 504,
    fault: 'user',
    retried: true,
    sandboxEnds: true,
    meaning: 'the function took too long to load',
    next: 'do less at the top level of the module, or raise "initTimeout" in offshoot.json',
  },
  isolation_unmet: {
    status: 501,
    fault: 'user',
    retried: false,
    sandboxEnds: true,
    meaning: 'the host does not offer the isolation that the function requires',
    next: 'run it on a host that does, or remove the missing requirement from "isolation.require" in offshoot.json',
  },
  timeout: {
    status: 504,
    fault: 'user',
    retried: true,
    sandboxEnds: true,
    meaning: 'the function did not finish within its time limit and was killed',
    next: 'raise "timeout" in offshoot.json, or make the function faster',
  },
  cpu_limit: {
    status: 504,
    fault: 'user',
    retried: false,
    sandboxEnds: true,
    meaning: 'the function used more processor time than its limit and was killed',
    next: 'raise "cpuTime" in offshoot.json, or do less in one run',
  },
  stream_idle: {
    status: 504,
    fault: 'user',
    retried: true,
    sandboxEnds: true,
    meaning:
      'the function sent nothing of its streamed response for longer than its limit, while its reader was ready for more, and was killed',
    next: 'raise "streamIdleTimeout" in offshoot.json, or send something during the pause, such as a comment line',
  },
  out_of_memory: {
    status: 502,
    fault: 'user',
    retried: true,
    sandboxEnds: true,
    meaning: 'the function used more memory than its limit and was killed',
    next: 'raise "memory" in offshoot.json',
  },
  pids_limit: {
    status: 502,
    fault: 'user',
    retried: false,
    // The function may have failed by itself, or may live on as half of a process tree.
    sandboxEnds: true,
    meaning: 'the function failed because it reached its limit of processes and threads',
    next: 'raise "pids" in offshoot.json, or start fewer processes and threads',
  },
  exited: {
    status: 502,
    fault: 'user',
    retried: true,
    sandboxEnds: true,
    meaning: 'the function ended its own process before it answered',
    next: inEachLanguage('exited'),
  },
  crashed: {
    status: 502,
    fault: 'user',
    retried: true,
    sandboxEnds: true,
    meaning: 'the process of the function was ended by a signal',
    next: 'read the logs of this invocation; native code is the usual cause',
  },
  response_too_large: {
    status: 502,
    fault: 'user',
    retried: false,
    sandboxEnds: true,
    meaning: 'the function sent a larger response than its limit and was killed',
    next: 'raise "responseSize" in offshoot.json, or answer with less',
  },
  cancelled: {
    status: 499,
    fault: 'user',
    retried: false,
    sandboxEnds: true,
    meaning: 'the invocation was cancelled before it ended',
    next: 'call again if the result is still needed',
  },
  function_removed: {
    // The same as for every later call.
    status: 404,
    fault: 'user',
    retried: false,
    sandboxEnds: false,
    meaning:
      'the function, or the version of it for this invocation, was removed before the invocation could begin',
    next: 'deploy the function and call it again; to queue a queued invocation again: offshoot replay ID',
  },
  expired: {
    status: 503,
    fault: 'system',
    retried: false,
    sandboxEnds: false,
    meaning: 'no worker took the invocation before its deadline',
    next: 'check that a worker runs and has room: offshoot doctor; the longest wait is "queueTime" in offshoot.json, or OFFSHOOT_QUEUE_TIMEOUT_MS of the gateway for a caller who waits',
  },
  worker_lost: {
    status: 502,
    fault: 'system',
    retried: true,
    sandboxEnds: true,
    meaning:
      'the worker that ran the invocation died or stood still; it is not known whether the function finished',
    next: 'call again if the function may safely run twice',
  },
  overloaded: {
    status: 503,
    fault: 'system',
    retried: true,
    sandboxEnds: false,
    meaning: 'the platform has no room for another invocation now',
    next: 'call again after the number of seconds in Retry-After',
  },
  platform_error: {
    status: 500,
    fault: 'system',
    retried: true,
    sandboxEnds: true,
    meaning: 'the platform failed, not the function',
    next: "read the log of the worker, and report it if it is not this host's configuration",
  },
} as const satisfies Record<Outcome, OutcomeFacts>;
