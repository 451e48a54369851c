/**
 * Parses the watchdog's settings. One is set by the operator; the others come from the process that started this one, a
 * supervisor or a service manager.
 */
import { z } from 'zod';

const Operator = z.object({
  /** Time limit in seconds for a stalled event loop of a worker or gateway; 0 turns the watchdog off. */
  OFFSHOOT_WATCHDOG_S: z.coerce
    .number()
    .refine((seconds) => seconds === 0 || (seconds >= 1 && seconds <= 3_600), 'it is 0 (off), or 1 to 3,600')
    .default(5),
});

/** Set by our own supervisor: descriptors of its pipes, and the interval between beats. */
const BySupervisor = z.object({
  OFFSHOOT_BEAT_FD: z.coerce.number().int().min(3).optional(),
  OFFSHOOT_BEAT_MS: z.coerce.number().positive().default(250),
  OFFSHOOT_WITNESS_FD: z.coerce.number().int().min(3).optional(),
  /** Earlier restarts of this process, for the metrics: after an exit, and after a stall. */
  OFFSHOOT_RESTARTS_ENDED: z.coerce.number().int().min(0).default(0),
  OFFSHOOT_RESTARTS_STILL: z.coerce.number().int().min(0).default(0),
});

/** Number of restarts of a process, by reason. */
export interface Restarts {
  readonly ended: number;
  readonly stood_still: number;
}

/** Set by a service manager, sd_notify(3) and sd_watchdog_enabled(3). */
const ByManager = z.object({
  NOTIFY_SOCKET: z.string().optional(),
  WATCHDOG_USEC: z.coerce.number().positive().optional(),
  WATCHDOG_PID: z.coerce.number().int().optional(),
});
const Watchers = BySupervisor.extend(ByManager.shape);
export type Watchers = z.infer<typeof Watchers>;

/**
 * Time limit in milliseconds for a stalled event loop, or undefined when the watchdog is off. Throws with the variable's name.
 */
export function parseLimit(source: NodeJS.ProcessEnv): number | undefined {
  const { OFFSHOOT_WATCHDOG_S: seconds } = parse(Operator, source);
  return seconds === 0 ? undefined : seconds * 1_000;
}

/**
 * Returns the watchers that expect beats from this process. Their variables are removed from `source`, since they are meant for
 * this process and not for its children. Throws with the name of an invalid variable.
 */
export function takeWatchers(source: NodeJS.ProcessEnv): Watchers {
  const watchers = parse(Watchers, source);
  for (const name of Object.keys(Watchers.shape)) delete source[name];
  return watchers;
}

function parse<T>(schema: z.ZodType<T>, source: NodeJS.ProcessEnv): T {
  // An empty variable counts as unset: it must not be read as 0.
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(source).filter(([, value]) => value)));
  if (parsed.success) return parsed.data;
  const reasons = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new Error(`the watchdog's settings are not usable:\n${reasons.join('\n')}`);
}
