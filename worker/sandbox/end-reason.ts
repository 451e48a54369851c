/** Why sandboxes end, as the worker's metrics count them. */
import type { ExitOutcome } from '../exit-cause.ts';

/** Why a sandbox is ended on purpose. */
export type KillReason =
  | 'timeout'
  | 'cpu_limit'
  | 'stream_idle'
  | 'cancelled'
  | 'response_too_large'
  | 'platform_error'
  | 'load_error'
  | 'load_timeout'
  /** The kernel has ended a process of it for memory. */
  | 'out_of_memory'
  /** It has met `pids`, and holds what the next run would need. */
  | 'spent'
  /** Each of its function's sandboxes serves one invocation. */
  | 'single_use'
  /** Nothing has run in it for OFFSHOOT_KEEP_ALIVE_S. */
  | 'idle'
  /** It has used too much processor time while nothing ran in it. */
  | 'idle_cpu'
  /** The host is short of memory. */
  | 'host_memory'
  /** Another function needs its place. */
  | 'made_room'
  | 'function_removed'
  | 'zygote_replaced'
  | 'shutdown'
  /** It has sent what nothing honest sends. */
  | 'misbehaved';

/** On purpose, or by itself. */
export type SandboxEnd = KillReason | ExitOutcome;
