/** Keeps the schedules of functions, as BullMQ Job Schedulers, in step with the versions that calls go to. */
import { CronExpressionParser, type CronExpression } from 'cron-parser';
import type { ScheduleView } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import type { Schedule } from '#contract/functions/manifest.ts';
import type { Queues } from '#storage/queued/jobs.ts';

/** Times that are shown ahead. */
const SHOWN_TIMES = 5;
/** Expressions whose next times are kept. */
const REMEMBERED = 1_000;
/** Of the months that have fewer than 31, by their number. */
const DAYS: Readonly<Record<number, number>> = { 2: 29, 4: 30, 6: 30, 9: 30, 11: 30 };

export class Schedules {
  readonly #queues: Queues;
  /** By time zone and expression. */
  readonly #times = new Map<string, readonly number[]>();

  constructor(queues: Queues) {
    this.#queues = queues;
  }

  /** Throws `bad_manifest` where the expression makes no sense, or never comes true. */
  check(schedule: Schedule | undefined): void {
    if (!schedule) return;
    try {
      parse(schedule, new Date()).next();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new OffshootError('bad_manifest', `schedule.cron: "${schedule.cron}" cannot be used: ${reason}`);
    }
  }

  /** What is to happen from now on; undefined is nothing. Doing it again changes nothing. */
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

  /** The next times of a schedule; none of one that was taken before it would have been refused. */
  view(namespace: string, name: string, schedule: Schedule, now = new Date()): ScheduleView {
    const { cron, timezone, overlap, missed } = schedule;
    return { namespace, name, cron, timezone, overlap, missed, next: [...this.#next(schedule, now)] };
  }

  /** Kept until the first of them has passed: to look for a time that comes once in decades takes a tenth of a second. */
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

/** Throws where there is no sense in it, or no day. */
function parse({ cron, timezone }: Schedule, from: Date): CronExpression {
  const parsed = CronExpressionParser.parse(cron, { tz: timezone, currentDate: from });
  // In names of months and days there may be one.
  if (cron.replaceAll(/[a-z]{3}/gi, '').includes('H'))
    throw new Error('H would be another time, drawn by chance, each time that it is read');
  const { dayOfMonth, dayOfWeek, month } = parsed.fields;
  // A weekday as well is another way to come true.
  if (dayOfWeek.isWildcard && !dayOfMonth.values.some((day) => month.values.some((of) => exists(day, of))))
    throw new Error('it never comes: none of its months has such a day');
  return parsed;
}

function exists(day: unknown, month: number): boolean {
  return typeof day !== 'number' || day <= (DAYS[month] ?? 31);
}
