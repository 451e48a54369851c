/** Keeps the schedules of functions, as BullMQ Job Schedulers, in step with the versions that calls go to. */
import { CronExpressionParser } from 'cron-parser';
import type { ScheduleView } from '#contract/api.ts';
import { OffshootError } from '#contract/errors.ts';
import type { Schedule } from '#contract/manifest.ts';
import type { Queues } from '#storage/queues.ts';

/** Times that are shown ahead. */
const SHOWN_TIMES = 5;

export class Schedules {
  readonly #queues: Queues;

  constructor(queues: Queues) {
    this.#queues = queues;
  }

  /** Throws `bad_manifest` where the expression makes no sense. */
  check(schedule: Schedule | undefined): void {
    if (!schedule) return;
    try {
      parse(schedule, new Date());
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new OffshootError('bad_manifest', `schedule.cron: "${schedule.cron}" cannot be read: ${reason}`);
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

  /** The next times of a schedule. */
  view(namespace: string, name: string, schedule: Schedule, now = new Date()): ScheduleView {
    const times = parse(schedule, now);
    const next = Array.from({ length: SHOWN_TIMES }, () => times.next().getTime());
    const { cron, timezone, overlap, missed } = schedule;
    return { namespace, name, cron, timezone, overlap, missed, next };
  }
}

function parse({ cron, timezone }: Schedule, from: Date): ReturnType<typeof CronExpressionParser.parse> {
  return CronExpressionParser.parse(cron, { tz: timezone, currentDate: from });
}
