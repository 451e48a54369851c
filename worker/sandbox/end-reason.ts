/** Lists the reasons for which a sandbox ends, as the worker's metrics count them. */
import type { ExitOutcome } from './exit-cause.ts';

/** Reason for which the worker kills a sandbox. */
export type KillReason =
  | 'timeout'
  | 'cpu_limit'
  | 'stream_idle'
  | 'cancelled'
  | 'response_too_large'
  | 'platform_error'
  | 'load_error'
  | 'load_timeout'
  /** The kernel killed a process of the sandbox for memory. */
  | 'out_of_memory'
  /** The sandbox hit its `pids` limit, and holds processes that the next run would need. */
  | 'spent'
  /** Each sandbox of this function serves one invocation. */
  | 'single_use'
  /** No invocation has run in the sandbox for OFFSHOOT_KEEP_ALIVE_S. */
  | 'idle'
  /** The sandbox used too much processor time while no invocation ran in it. */
  | 'idle_cpu'
  /** The host is short of memory. */
  | 'host_memory'
  /** Another function needs the sandbox's place. */
  | 'made_room'
  | 'function_removed'
  | 'zygote_replaced'
  | 'shutdown'
  /** The sandbox sent data that the platform's own code never sends. */
  | 'misbehaved';

/** Reason for which a sandbox ended: killed by the worker, or by itself. */
export type SandboxEnd = KillReason | ExitOutcome;
