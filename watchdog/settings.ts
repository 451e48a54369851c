/** The watchdog's settings: one is an operator's, the others are told to a process by whoever has started it. */
import { z } from 'zod';

const Operator = z.object({
  /** Seconds that the event loop of worker or gateway may stand still; 0 is for ever. */
  OFFSHOOT_WATCHDOG_S: z.coerce
    .number()
    .refine((seconds) => seconds === 0 || (seconds >= 1 && seconds <= 3_600), 'it is 0 (off), or 1 to 3,600')
    .default(5),
});

/** Told by our own supervisor: descriptors of its pipes, and how often it wants to hear of a turn. */
const BySupervisor = z.object({
  OFFSHOOT_BEAT_FD: z.coerce.number().int().min(3).optional(),
  OFFSHOOT_BEAT_MS: z.coerce.number().positive().default(250),
  OFFSHOOT_WITNESS_FD: z.coerce.number().int().min(3).optional(),
  /** How often it had to start this process again, for the metrics: because it had ended, and because it had stood still. */
  OFFSHOOT_RESTARTS_ENDED: z.coerce.number().int().min(0).default(0),
  OFFSHOOT_RESTARTS_STILL: z.coerce.number().int().min(0).default(0),
});

/** How often a process was started again, by why. */
export interface Restarts {
  readonly ended: number;
  readonly stood_still: number;
}

/** Told by a service manager, sd_notify(3) and sd_watchdog_enabled(3). */
const ByManager = z.object({
  NOTIFY_SOCKET: z.string().optional(),
  WATCHDOG_USEC: z.coerce.number().positive().optional(),
  WATCHDOG_PID: z.coerce.number().int().optional(),
});
const Watchers = BySupervisor.extend(ByManager.shape);
export type Watchers = z.infer<typeof Watchers>;

/** Milliseconds that an event loop may stand still, or undefined where nobody shall watch. Throws with the variable's name. */
export function parseLimit(source: NodeJS.ProcessEnv): number | undefined {
  const { OFFSHOOT_WATCHDOG_S: seconds } = parse(Operator, source);
  return seconds === 0 ? undefined : seconds * 1_000;
}

/**
 * Who wants to hear that this process lives. The variables are taken out of `source`, since they are for this process and not
 * for its children. Throws with the name of one that makes no sense.
 */
export function takeWatchers(source: NodeJS.ProcessEnv): Watchers {
  const watchers = parse(Watchers, source);
  for (const name of Object.keys(Watchers.shape)) delete source[name];
  return watchers;
}

function parse<T>(schema: z.ZodType<T>, source: NodeJS.ProcessEnv): T {
  // An empty variable counts as unset: it must not be taken for 0.
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(source).filter(([, value]) => value)));
  if (parsed.success) return parsed.data;
  const reasons = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new Error(`the watchdog's settings are not usable:\n${reasons.join('\n')}`);
}
