/** Parses the worker's environment once. An invalid value stops the start with the variable's name and the reason. */
import { availableParallelism, totalmem } from 'node:os';
import { z } from 'zod';
import { DEFAULT_KEPT_LOG_MB } from '#contract/functions/limits.ts';
import { parseCidr } from '#contract/functions/network.ts';
import { checkStore, STORE_VARIABLES } from '#storage/s3/settings.ts';
import { TelemetryEnvironment } from '#contract/platform/telemetry.ts';

const MB = 1024 * 1024;
/**
 * Rough memory of an idle sandbox, the kernel's and the worker's share included; the default of OFFSHOOT_MAX_SANDBOXES uses it.
 */
const SANDBOX_BYTES = 6 * MB;

const Variables = z.object({
  /** redis://, rediss:// or unix:///path */
  REDIS_URL: z.string().default('redis://127.0.0.1:6379'),
  /** Directory of images, code and, without OFFSHOOT_ARTIFACTS, artifacts. */
  OFFSHOOT_STATE: z.string().min(1),
  ...STORE_VARIABLES,
  /** Upper bound on invocations that this worker runs at the same time. */
  OFFSHOOT_CAPACITY: z.coerce
    .number()
    .int()
    .min(1)
    .default(64 * availableParallelism()),
  /**
   * Share of OFFSHOOT_CAPACITY and of OFFSHOOT_MAX_SANDBOXES that runs of the queued lane may use at the same time. The rest
   * stays free for synchronous calls, however many jobs are queued.
   */
  OFFSHOOT_QUEUED_SHARE: z.coerce.number().min(0.01).max(1).default(0.5),
  /** Upper bound on live sandboxes of all functions together. */
  OFFSHOOT_MAX_SANDBOXES: z.coerce
    .number()
    .int()
    .min(1)
    .default(Math.max(16, Math.min(4_000, Math.floor(totalmem() / 2 / SANDBOX_BYTES)))),
  /** Number of sandboxes kept prepared for each runtime image and namespace in use. */
  OFFSHOOT_PREPARED: z.coerce.number().int().min(0).default(4),
  /** Number of network namespaces kept prepared for each runtime image and namespace with functions that have egress. */
  OFFSHOOT_PREPARED_NETWORKS: z.coerce.number().int().min(1).default(4),
  /**
   * IPv4 ranges, separated by commas, that no function reaches even if its manifest names them, such as
   * 10.0.0.0/8,169.254.0.0/16.
   */
  OFFSHOOT_EGRESS_NEVER: z
    .string()
    .default('')
    .transform((text) => text.split(',').filter(Boolean))
    .superRefine((ranges, context) => {
      for (const range of ranges) {
        try {
          parseCidr(range);
        } catch (error) {
          context.addIssue({
            code: 'custom',
            message: error instanceof Error ? error.message : String(error),
          });
        }
      }
    }),
  /** Number of ended queued invocations of each function whose records and results are kept. */
  OFFSHOOT_KEPT_JOBS: z.coerce.number().int().min(100).default(100_000),
  /** Upper bound in MB on the kept invocation logs of each function; the newest stay. */
  OFFSHOOT_KEPT_LOG_MB: z.coerce.number().min(1).default(DEFAULT_KEPT_LOG_MB),
  /** Time in seconds after which an idle sandbox is ended. */
  OFFSHOOT_KEEP_ALIVE_S: z.coerce.number().min(0).default(300),
  /**
   * Share of its function's `cpu` that an idle sandbox may use on average over half a minute. A sandbox that uses more is ended.
   * 1 turns this limit off.
   */
  OFFSHOOT_IDLE_CPU: z.coerce.number().min(0.01).max(1).default(0.25),
  /** Free memory of the host, in MB, below which idle sandboxes are ended. */
  OFFSHOOT_MEMORY_RESERVE_MB: z.coerce
    .number()
    .min(0)
    .default(Math.floor(totalmem() / MB / 16)),
  /**
   * Number of forks, and minutes, after which a zygote is replaced: forks of one zygote share their address layout and hash seed.
   */
  OFFSHOOT_ZYGOTE_FORKS: z.coerce.number().int().min(1).default(10_000),
  OFFSHOOT_ZYGOTE_MINUTES: z.coerce.number().min(1).default(360),
  /**
   * Number of crashes of its sandboxes within a minute after which a zygote is replaced: each may be a guess at the shared
   * layout.
   */
  OFFSHOOT_ZYGOTE_CRASHES: z.coerce.number().int().min(1).default(20),
  /** Upper bound on processes and threads of one sandbox, whatever its function asks for. */
  OFFSHOOT_SANDBOX_PIDS: z.coerce.number().int().min(16).default(1_024),
  /** Size in MB of unpacked code on this host above which code is removed that no version of a function names. */
  OFFSHOOT_CODE_MB: z.coerce.number().int().min(0).default(10_240),
  /** Upper bound in MB on /tmp of one sandbox, whatever its function asks for. */
  OFFSHOOT_SCRATCH_MB: z.coerce.number().int().min(1).default(4_096),
  /**
   * Address of this worker's metrics, readable without a key; port 0 turns them off. Only the operator opens them beyond
   * loopback.
   */
  OFFSHOOT_METRICS_PORT: z.coerce.number().int().min(0).max(65_535).default(0),
  OFFSHOOT_METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  /** Number of functions with metrics of their own; functions called later share the label `other`. */
  OFFSHOOT_METRICS_FUNCTIONS: z.coerce.number().int().min(0).max(1_000).default(200),
  ...TelemetryEnvironment.shape,
});
const Env = Variables.superRefine(checkStore);
export type Env = z.infer<typeof Env>;

/** Upper bound on runs of the queued lane at the same time, at least one: queued jobs must end some time. */
export function queuedCapacity(env: Env): number {
  const most = Math.min(env.OFFSHOOT_CAPACITY, env.OFFSHOOT_MAX_SANDBOXES);
  return Math.max(1, Math.floor(most * env.OFFSHOOT_QUEUED_SHARE));
}

export function parseEnv(source: NodeJS.ProcessEnv): Env {
  const parsed = Env.safeParse(source);
  if (parsed.success) return parsed.data;
  const reasons = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new Error(`the worker's environment is not usable:\n${reasons.join('\n')}`);
}
