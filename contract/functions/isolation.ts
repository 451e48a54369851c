/**
 * The isolation receipt: the isolation of a sandbox as it was found before any code of its function ran. One for each sandbox,
 * shown with each of its invocations. Also the requirements that a function may name.
 */
import { z } from 'zod';

export const LINUX_NAMESPACES = ['user', 'pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup'] as const;
export type LinuxNamespace = (typeof LINUX_NAMESPACES)[number];

/** Lifetime of a sandbox: for later invocations of the same version, or for one invocation. */
export const IsolationMode = z.enum(['sandbox', 'request']);
export type IsolationMode = z.infer<typeof IsolationMode>;

export const IsolationReceipt = z.object({
  sandbox: z.string(),
  worker: z.string(),
  /** Unix time in milliseconds at which it was isolated. */
  at: z.number(),
  mode: IsolationMode,
  /** Inode number of each Linux namespace, which names it on its host; see namespaces(7). */
  namespaces: z.record(z.enum(LINUX_NAMESPACES), z.number()),
  /** The only id in the sandbox, and the id of the host to which it maps. */
  uid: z.object({ inside: z.number(), host: z.number() }),
  /** sha256 of the instructions of the system call filter. */
  seccomp: z.string(),
  /** ABI of the Landlock rules; 0 where there are none. */
  landlock: z.number(),
  /**
   * `disabled`: indirect branches of this process are protected from the influence of others. `as the host`: the host decides.
   */
  branchSpeculation: z.enum(['disabled', 'as the host']),
  cgroup: z.object({
    version: z.union([z.literal(1), z.literal(2)]),
    memoryBytes: z.number(),
    /** Swap is counted or forbidden as well, so memory cannot exceed its limit by swap. */
    swapLimited: z.boolean(),
    /** Cores. */
    cpu: z.number(),
    pids: z.number(),
  }),
  /** `none`: loopback only. */
  network: z.enum(['none', 'egress']),
  /** Digest of the runtime image, and sha256 of the function's archive. */
  image: z.string(),
  code: z.string(),
});
export type IsolationReceipt = z.infer<typeof IsolationReceipt>;

/** Values of `isolation.require`. Some hold wherever Offshoot runs today; naming them keeps it that way. */
export const IsolationRequirement = z.enum([
  'seccomp',
  'landlock',
  'cgroup-v2',
  'memory-limit',
  'swap-limit',
  'cpu-limit',
  'pids-limit',
]);
export type IsolationRequirement = z.infer<typeof IsolationRequirement>;

const IS_MET: Readonly<Record<IsolationRequirement, (receipt: IsolationReceipt) => boolean>> = {
  seccomp: ({ seccomp }) => seccomp !== '',
  landlock: ({ landlock }) => landlock > 0,
  'cgroup-v2': ({ cgroup }) => cgroup.version === 2,
  'memory-limit': ({ cgroup }) => cgroup.memoryBytes > 0,
  'swap-limit': ({ cgroup }) => cgroup.memoryBytes > 0 && cgroup.swapLimited,
  'cpu-limit': ({ cgroup }) => cgroup.cpu > 0,
  'pids-limit': ({ cgroup }) => cgroup.pids > 0,
};

/** The requirements that a sandbox does not meet. */
export function unmetRequirements(
  required: readonly IsolationRequirement[],
  receipt: IsolationReceipt,
): IsolationRequirement[] {
  return required.filter((requirement) => !IS_MET[requirement](receipt));
}
