/** The worker's environment, parsed once. A value that makes no sense stops the start with its name and the reason. */
import { availableParallelism, totalmem } from 'node:os';
import { z } from 'zod';
import { DEFAULT_KEPT_LOG_MB } from '#contract/limits.ts';
import { parseCidr } from '#contract/network.ts';
import { checkStore, STORE_VARIABLES } from '#storage/s3/settings.ts';
import { TelemetryEnvironment } from '#contract/telemetry.ts';

const MB = 1024 * 1024;
/** Rough cost of an idle sandbox with kernel memory and the worker's own share, for the default ceiling. */
const SANDBOX_BYTES = 6 * MB;

const Variables = z.object({
  /** redis://, rediss:// or unix:///path */
  REDIS_URL: z.string().default('redis://127.0.0.1:6379'),
  /** Directory of images, code and, without OFFSHOOT_ARTIFACTS, artifacts. */
  OFFSHOOT_STATE: z.string().min(1),
  ...STORE_VARIABLES,
  /** Invocations that this worker takes at the same time. */
  OFFSHOOT_CAPACITY: z.coerce
    .number()
    .int()
    .min(1)
    .default(64 * availableParallelism()),
  /**
   * Share of OFFSHOOT_CAPACITY and of OFFSHOOT_MAX_SANDBOXES that runs of the queued lane may have at the same time. The rest
   * is there for callers who wait, however much is queued.
   */
  OFFSHOOT_QUEUED_SHARE: z.coerce.number().min(0.01).max(1).default(0.5),
  /** Live sandboxes of all functions together. */
  OFFSHOOT_MAX_SANDBOXES: z.coerce
    .number()
    .int()
    .min(1)
    .default(Math.max(16, Math.min(4_000, Math.floor(totalmem() / 2 / SANDBOX_BYTES)))),
  /** Sandboxes kept prepared for each runtime image and namespace in use. */
  OFFSHOOT_PREPARED: z.coerce.number().int().min(0).default(4),
  /** Network namespaces kept prepared for each runtime image and namespace with functions that have egress. */
  OFFSHOOT_PREPARED_NETWORKS: z.coerce.number().int().min(1).default(4),
  /** IPv4 ranges, by commas, that no function reaches even if its manifest names them, such as 10.0.0.0/8,169.254.0.0/16. */
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
  /** Ended invocations of the queued lane of each function whose records and results are kept. */
  OFFSHOOT_KEPT_JOBS: z.coerce.number().int().min(100).default(100_000),
  /** MB of logs of invocations that are kept of each function: its newest. */
  OFFSHOOT_KEPT_LOG_MB: z.coerce.number().min(1).default(DEFAULT_KEPT_LOG_MB),
  /** Seconds that an idle sandbox is kept. */
  OFFSHOOT_KEEP_ALIVE_S: z.coerce.number().min(0).default(300),
  /**
   * Share of its function's `cpu` that a sandbox may use on average over half a minute while nothing runs in it; one that uses more is
   * ended. 1 is no bound.
   */
  OFFSHOOT_IDLE_CPU: z.coerce.number().min(0.01).max(1).default(0.25),
  /** Free memory of the host, in MB, below which idle sandboxes are given up. */
  OFFSHOOT_MEMORY_RESERVE_MB: z.coerce
    .number()
    .min(0)
    .default(Math.floor(totalmem() / MB / 16)),
  /** Forks and minutes after which a zygote is replaced: forks of one share their address layout and hash seed. */
  OFFSHOOT_ZYGOTE_FORKS: z.coerce.number().int().min(1).default(10_000),
  OFFSHOOT_ZYGOTE_MINUTES: z.coerce.number().min(1).default(360),
  /** Crashes of its sandboxes within a minute after which a zygote is replaced: each may be a guess at what forks share. */
  OFFSHOOT_ZYGOTE_CRASHES: z.coerce.number().int().min(1).default(20),
  /** Processes and threads of one sandbox at most, whatever its function asks for. */
  OFFSHOOT_SANDBOX_PIDS: z.coerce.number().int().min(16).default(1_024),
  /** MB of unpacked code on this host, over which code that no version of a function names is removed. */
  OFFSHOOT_CODE_MB: z.coerce.number().int().min(0).default(10_240),
  /** MB of /tmp of one sandbox at most, whatever its function asks for. */
  OFFSHOOT_SCRATCH_MB: z.coerce.number().int().min(1).default(4_096),
  /** Where this worker's metrics are read, without a key; port 0 is nowhere. Beyond loopback only by your own word. */
  OFFSHOOT_METRICS_PORT: z.coerce.number().int().min(0).max(65_535).default(0),
  OFFSHOOT_METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  /** Functions that get metrics of their own; those that are called later share the label `other`. */
  OFFSHOOT_METRICS_FUNCTIONS: z.coerce.number().int().min(0).max(1_000).default(200),
  ...TelemetryEnvironment.shape,
});
const Env = Variables.superRefine(checkStore);
export type Env = z.infer<typeof Env>;

/** Runs of the queued lane at the same time. One is always possible: what is queued must end some time. */
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
