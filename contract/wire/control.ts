/**
 * The control socket between a worker and a zygote: a stream socket that carries messages of one fixed layout, so that
 * neither side needs a parser. Descriptors for a FORK come with its first byte (SCM_RIGHTS, unix(7)).
 *
 *   u32 kind · u32 slot · i32 a · i32 b · u64 c · u64 d     (little endian, CONTROL_BYTES in all)
 *
 * A slot names a live sandbox of a worker, in all of its zygotes together; a sandbox's uid follows from it, so no two
 * live sandboxes have the same one. The numbers here are generated into a C header for the other side.
 */
export const ControlKind = {
  /**
   * worker → zygote: make a sandbox. a: uid in the launcher's user namespace; b: MB of scratch space. Descriptors: channel,
   * stdout, stderr, turns (a page, see channel.ts), the socket for the filter's listener, then one file for each cgroup
   * hierarchy. A process that writes 0 to such a file joins that cgroup.
   */
  FORK: 1,
  /** worker → zygote: end a sandbox, in any state. */
  KILL: 2,

  /** zygote → worker: warm and listening. a: protocol version. */
  HELLO: 16,
  /** zygote → worker: a: its pid in the launcher's pid namespace; c: microseconds of the fork. */
  FORKED: 17,
  /** zygote → worker: a: errno. */
  FORK_FAILED: 18,
  /**
   * zygote → worker: the sandbox has ended and is reaped. a: wait status; c: processor time in microseconds; d: largest
   * resident set in KB.
   */
  EXITED: 19,
} as const;
export type ControlKind = (typeof ControlKind)[keyof typeof ControlKind];

export const CONTROL_VERSION = 4;
export const CONTROL_BYTES = 32;

/** Number of descriptors before the cgroup ones in a FORK, and upper bound on all of them. */
export const FORK_FIXED_FDS = 5;
export const FORK_MAX_FDS = 12;

/** Upper bound on the slots of a worker: one sub-uid each, from FIRST_SANDBOX_UID on. */
export const MAX_SLOTS = 60_000;
export const FIRST_SANDBOX_UID = 1_000;
