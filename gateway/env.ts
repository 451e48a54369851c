/** Reads the environment of the gateway once. An invalid value stops the start with an error that names variable and reason. */
import { resolve } from 'node:path';
import { z } from 'zod';
import { DEFAULT_INLINE_BODY_BYTES, DEFAULT_MAX_BODY_BYTES } from '#contract/functions/limits.ts';
import { parseRedisAddress } from '#storage/redis/redis.ts';
import { checkStore, STORE_VARIABLES } from '#storage/s3/settings.ts';
import { TelemetryEnvironment } from '#contract/platform/telemetry.ts';
import { listOf } from './callbacks/guard.ts';

const Variables = z.object({
  /** Address to listen on. The default keeps a fresh installation off the network. */
  OFFSHOOT_HOST: z.string().min(1).default('127.0.0.1'),
  /** Port to listen on; 0 takes a free one. */
  OFFSHOOT_PORT: z.coerce.number().int().min(0).max(65_535).default(8787),
  /** One Redis, Sentinels or a Cluster: the forms are in storage/redis/address.ts. */
  REDIS_URL: z.string().default('redis://127.0.0.1:6379').superRefine(readable(parseRedisAddress)),
  /** Directory for the first key and, without OFFSHOOT_ARTIFACTS, the artifact store. Workers on this host share it. */
  OFFSHOOT_STATE: z
    .string()
    .min(1)
    .transform((path) => resolve(path)),
  ...STORE_VARIABLES,
  /** Upper bound on the request body of every function, even if its "requestSize" is higher. */
  OFFSHOOT_MAX_BODY_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .max(64 * 1024 * 1024 * 1024)
    .default(DEFAULT_MAX_BODY_BYTES),
  /** Size above which request bodies go through the artifact store instead of Redis. */
  OFFSHOOT_INLINE_BODY_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .max(64 * 1024 * 1024)
    .default(DEFAULT_INLINE_BODY_BYTES),
  /** Upper bound on the bytes in the artifact store of the large bodies of all calls under way in this gateway. */
  OFFSHOOT_MAX_SPOOL_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .default(16 * 1024 * 1024 * 1024),
  /** Time limit for the wait of a call in Redis for a worker. */
  OFFSHOOT_QUEUE_TIMEOUT_MS: z.coerce.number().int().min(100).max(3_600_000).default(10_000),
  /** Number of ended calls of each function whose records are kept. */
  OFFSHOOT_KEPT_CALLS: z.coerce.number().int().min(100).default(10_000),
  /** Number of ended queued invocations of each function whose records and results are kept; workers need the same value. */
  OFFSHOOT_KEPT_JOBS: z.coerce.number().int().min(100).default(100_000),
  /** Number of versions that a function keeps for a rollback. Versions that anything refers to stay beside these. */
  OFFSHOOT_KEPT_VERSIONS: z.coerce.number().int().min(1).default(100),
  /** Upper bound on the invocations that wait in the queue of a namespace. */
  OFFSHOOT_MAX_QUEUED: z.coerce.number().int().min(1).default(2_000_000),
  /**
   * Addresses and ranges, separated by commas, of callback receivers that are not public, such as 10.1.2.0/24. They are
   * reached on any port. No other private, local or special address is ever reached.
   */
  OFFSHOOT_CALLBACK_ALLOW: z.string().default('').transform(commas).superRefine(readable(listOf)),
  /** Ports, separated by commas, of public receivers. */
  OFFSHOOT_CALLBACK_PORTS: z
    .string()
    .default('80,443')
    .transform(commas)
    .pipe(z.array(z.coerce.number<string>().int().min(1).max(65_535)).min(1)),
  /** Attempts of a delivery, and the longest waits before the second and the last attempt: by default over a day in all. */
  OFFSHOOT_CALLBACK_ATTEMPTS: z.coerce.number().int().min(1).max(50).default(8),
  OFFSHOOT_CALLBACK_FIRST_DELAY_MS: z.coerce.number().int().min(1).max(86_400_000).default(5_000),
  OFFSHOOT_CALLBACK_LAST_DELAY_MS: z.coerce.number().int().min(1).max(86_400_000).default(64_800_000),
  /** Time limit for the answer of a receiver. */
  OFFSHOOT_CALLBACK_TIMEOUT_MS: z.coerce.number().int().min(100).max(60_000).default(10_000),
  /** Upper bound on parallel deliveries of one namespace from each gateway. */
  OFFSHOOT_CALLBACK_CONCURRENCY: z.coerce.number().int().min(1).max(1_000).default(8),
  /**
   * 1 behind a reverse proxy: the gateway believes X-Forwarded-For, -Proto and -Host of the request. Otherwise it replaces
   * them, because a caller could forge them.
   */
  OFFSHOOT_TRUST_PROXY: z.enum(['0', '1']).default('0'),
  /** Number of functions with metrics of their own; functions that are called later share the label `other`. */
  OFFSHOOT_METRICS_FUNCTIONS: z.coerce.number().int().min(0).max(1_000).default(200),
  /** Least severe level that is logged. */
  OFFSHOOT_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  ...TelemetryEnvironment.shape,
});
const Environment = Variables.superRefine(checkStore);
export type Environment = z.infer<typeof Environment>;

/** A check that fails with the message of the parser's error. */
function readable<T>(parse: (value: T) => unknown): (value: T, context: z.RefinementCtx) => void {
  return (value, context) => {
    try {
      parse(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
    }
  };
}

function commas(text: string): string[] {
  return text
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean);
}

/** Throws an Error whose message has one line for each variable that is wrong. */
export function parseEnvironment(variables: Record<string, string | undefined>): Environment {
  // An empty variable counts as unset, as it does in a shell's ${NAME:-default}.
  const present = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ''));
  const result = Environment.safeParse(present);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new Error(`the environment of the gateway is not usable:\n${lines.join('\n')}`);
}
