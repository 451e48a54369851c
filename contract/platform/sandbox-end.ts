/**
 * Reasons for which a sandbox ends. An invocation that takes its sandbox along gives it its own outcome as the reason (contract/invocations/outcome.ts).
 * The others are below: the worker ends the sandbox, and no invocation has that outcome. The worker's metrics count all of them.
 */
import type { EndingOutcome } from '../invocations/outcome.ts';

/** When the worker ends a sandbox for each reason. docs/design/sandbox.md says which module does. */
export const SANDBOX_ENDS = {
  spent: 'it hit its limit of processes and threads, and holds some that the next run would need',
  single_use: 'each sandbox of its function serves one invocation',
  idle: 'no invocation has run in it for OFFSHOOT_KEEP_ALIVE_S',
  idle_cpu: 'it used too much processor time while no invocation ran in it',
  host_memory: 'the host is short of memory',
  made_room: 'another function needs its place',
  function_removed: 'its function or namespace is gone',
  zygote_replaced: 'the zygote that forked it was replaced',
  shutdown: 'the worker stops',
  misbehaved: "it sent data that the platform's own code never sends",
} as const satisfies Readonly<Record<string, string>>;

/** Reason for which a sandbox ended: by the worker, or by itself. */
export type SandboxEnd = keyof typeof SANDBOX_ENDS | EndingOutcome;
