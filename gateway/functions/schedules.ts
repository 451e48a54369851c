/** Keeps the schedules of functions, as BullMQ Job Schedulers, in step with their active versions. */
import { CronExpressionParser, type CronExpression } from 'cron-parser';
import type { ScheduleView } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import type { Schedule } from '#contract/functions/manifest.ts';
import type { Queues } from '#storage/queued/jobs.ts';

/** Number of future times that a schedule shows. */
const SHOWN_TIMES = 5;
/** Upper bound on the expressions whose next times are cached. */
const REMEMBERED = 1_000;
/** Days of the months that have fewer than 31, by number of the month. */
const DAYS: Readonly<Record<number, number>> = { 2: 29, 4: 30, 6: 30, 9: 30, 11: 30 };

export class Schedules {
  readonly #queues: Queues;
  /** Next times by time zone and expression. */
  readonly #times = new Map<string, readonly number[]>();

  constructor(queues: Queues) {
    this.#queues = queues;
  }

  /** Throws `bad_manifest` for an expression that is invalid or never comes true. */
  check(schedule: Schedule | undefined): void {
    if (!schedule) return;
    try {
      parse(schedule, new Date()).next();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new OffshootError('bad_manifest', `schedule.cron: "${schedule.cron}" cannot be used: ${reason}`);
    }
  }

  /** Sets the schedule from now on; undefined removes it. A repeated call changes nothing. */
  async set(namespace: string, name: string, schedule: Schedule | undefined): Promise<void> {
    const queue = this.#queues.of(namespace);
    if (!schedule) {
      await queue.removeJobScheduler(name);
      return;
    }
    await queue.upsertJobScheduler(
      name,
      { pattern: schedule.cron, tz: schedule.timezone },
      { name: 'scheduled', data: { schedule: name } },
    );
  }

  /** The next times of a schedule. There are none for an invalid expression that an earlier version accepted. */
  view(namespace: string, name: string, schedule: Schedule, now = new Date()): ScheduleView {
    const { cron, timezone, overlap, missed } = schedule;
    return { namespace, name, cron, timezone, overlap, missed, next: [...this.#next(schedule, now)] };
  }

  /** Cached until the first time has passed, because finding a time that comes once in decades takes a tenth of a second. */
  #next(schedule: Schedule, now: Date): readonly number[] {
    const key = `${schedule.timezone} ${schedule.cron}`;
    const known = this.#times.get(key);
    if (known && (known[0] ?? Infinity) > now.getTime()) return known;
    const next = nextTimes(schedule, now);
    if (this.#times.size >= REMEMBERED) this.#times.clear();
    this.#times.set(key, next);
    return next;
  }
}

function nextTimes(schedule: Schedule, now: Date): readonly number[] {
  try {
    const times = parse(schedule, now);
    return Array.from({ length: SHOWN_TIMES }, () => times.next().getTime());
  } catch {
    return [];
  }
}

/** Throws for an expression that is invalid or matches no day. */
function parse({ cron, timezone }: Schedule, from: Date): CronExpression {
  const parsed = CronExpressionParser.parse(cron, { tz: timezone, currentDate: from });
  // Names of months and days may contain an H, so they are removed first.
  if (cron.replaceAll(/[a-z]{3}/gi, '').includes('H'))
    throw new Error('H would be another time, drawn by chance, each time that it is read');
  const { dayOfMonth, dayOfWeek, month } = parsed.fields;
  // With a weekday, the expression also comes true on other days of the month.
  if (dayOfWeek.isWildcard && !dayOfMonth.values.some((day) => month.values.some((of) => exists(day, of))))
    throw new Error('it never comes: none of its months has such a day');
  return parsed;
}

function exists(day: unknown, month: number): boolean {
  return typeof day !== 'number' || day <= (DAYS[month] ?? 31);
}
