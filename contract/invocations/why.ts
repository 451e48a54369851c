/**
 * Why an invocation took the time it took, and ended as it did: in words for a person, with the setting that would change it.
 * Made from the record alone, so that the terminal and others say the same.
 */
import { DEAD } from './dead-letter.ts';
import { nextWith } from '../api/next.ts';
import type { AnyInvocation, Attempt, ColdReason, InvocationRecord } from './invocation.ts';
import { OUTCOMES } from './outcome.ts';

/** A stretch of the time of an invocation; they lie end to end. */
export interface Part {
  readonly name: string;
  readonly ms: number;
}

export interface Why {
  readonly sentences: readonly string[];
  /** What would change it, the most promising first. */
  readonly advice: readonly string[];
  readonly parts: readonly Part[];
}

/** A part under this share of the whole, or under so many milliseconds, is not what made it slow. */
const NOTABLE_SHARE = 0.25;
const NOTABLE_MS = 5;
/** Shares of a run in which it computed: above, a faster processor would help; below, it waited for something. */
const BUSY = 0.8;
const WAITING = 0.2;

const COLD: Readonly<Record<ColdReason, { because: string; change?: string }>> = {
  first_call: {
    because: 'no sandbox of the function had been started on that worker before',
    change: 'OFFSHOOT_PREPARED of the worker keeps sandboxes prepared, which makes a first call shorter',
  },
  new_version: {
    because: 'the version was new: sandboxes of an older one are not used for it',
    change: 'nothing has to be changed; the next calls find its sandbox',
  },
  all_busy: {
    because: 'each of its sandboxes was busy with another invocation',
    change:
      '"concurrency" in offshoot.json lets a sandbox run several at once, if the function can; batches and queued calls spread a burst',
  },
  evicted: {
    because: 'its last sandbox had been given up, for its age or for memory that others needed',
    change: 'raise OFFSHOOT_KEEP_ALIVE_S or OFFSHOOT_MAX_SANDBOXES of the worker',
  },
  sandbox_ended: {
    because: 'its last sandbox had ended by itself or had been killed',
    change:
      'see what ended the one before: offshoot invocations NAME; between invocations: offshoot logs NAME',
  },
  single_use: {
    because: 'each invocation of the function has a sandbox of its own',
    change: '"isolation.mode": "sandbox" in offshoot.json lets invocations share one, one after the other',
  },
};

/** `now`: Unix time in milliseconds, for one that has not ended. */
export function why(record: AnyInvocation, now: number): Why {
  const { advice, ...rest } = record.state === 'done' ? explainEnd(record) : whyOpen(record, now);
  return { ...rest, advice: advice.map((one) => nextWith(one, record.id)) };
}

function explainEnd(record: InvocationRecord): Why {
  const { outcome, report, attempts = [], dead, duration } = record;
  const facts = OUTCOMES[outcome];
  const parts = attempts.length > 1 ? triesOf(attempts, record.startedAt) : phasesOf(record);
  const sentences: string[] = [];
  const advice: string[] = [];
  const say = (sentence: string, change?: string): void => {
    sentences.push(sentence);
    if (change) advice.push(change);
  };

  if (outcome === 'ok') say(`It took ${time(duration)} and answered ${record.status}.`);
  else {
    const cause = report?.exitCause ?? record.message ?? report?.error?.message;
    say(
      `It ended as ${outcome} after ${time(duration)}: ${facts.meaning}${cause === undefined ? '' : ` (${cause})`}.`,
      facts.next,
    );
    if (facts.sandboxEnds && report?.sandbox !== undefined)
      say('Its sandbox was ended with it, so the next call may be a cold one.');
  }
  if (attempts.length > 1) {
    const failed = attempts.filter(({ outcome: of }) => of !== 'ok');
    say(
      `It was tried ${attempts.length} times; ${failed.length} of them failed (${tally(failed)}), with a wait before each further one.`,
      '"retries" in offshoot.json says how often it is tried and how long it waits',
    );
  }
  if (dead) say(`It is a dead letter, because ${DEAD[dead].because}.`, DEAD[dead].change);
  sayTime(record, parts, say);
  sayCold(record, say);
  sayRefusals(record, say);
  return { sentences, advice: [...new Set(advice)].filter(Boolean), parts };
}

type Say = (sentence: string, change?: string) => void;

/** Where most of it went. */
function sayTime(record: InvocationRecord, parts: readonly Part[], say: Say): void {
  const total = parts.reduce((sum, { ms }) => sum + ms, 0);
  for (const { name, ms } of parts.toSorted((a, b) => b.ms - a.ms)) {
    if (ms < NOTABLE_MS || ms < total * NOTABLE_SHARE) continue;
    const share = `${time(ms)} (${Math.round((ms / total) * 100)} %)`;
    switch (name) {
      case 'queue':
        say(
          record.lane === 'sync'
            ? `It waited ${share} for a worker to take it: all had as much as they take.`
            : `It waited ${share} in the queue of its namespace.`,
          'add a worker, or raise OFFSHOOT_CAPACITY where processors are idle',
        );
        break;
      case 'gateway':
        say(`${share} passed in the gateway, most of it with the body of the request on its way.`);
        break;
      case 'init':
        say(
          `Loading its module took ${share}.`,
          'do less at the top level of the module: import what a call needs when it needs it',
        );
        break;
      case 'run':
        say(...runText(record, ms, share));
        break;
      case 'acquire':
        // Its reason is said once, with the cold start.
        if (!record.report?.coldReason)
          say(
            `It waited ${share} for a sandbox of the function to be free.`,
            '"concurrency" in offshoot.json lets a sandbox run several at once, if the function can',
          );
        break;
      case 'reply':
        say(`${share} passed while its answer was on its way to a slow reader.`);
        break;
      case 'wait':
        say(`It waited ${share} between its tries or for a worker.`);
        break;
      default:
        say(`${name} took ${share}.`);
    }
  }
}

function runText({ report }: InvocationRecord, ms: number, share: string): [string, string?] {
  const cpu = report?.usage?.cpu ?? -1;
  if (cpu < 0) return [`The function itself ran for ${share}.`];
  if (cpu > ms * BUSY)
    return [
      `The function itself ran for ${share} and computed all the while (${time(cpu)} of processor time).`,
      'raise "cpu" in offshoot.json if it can use more than one processor, or has less than one',
    ];
  if (cpu < ms * WAITING)
    return [
      `The function itself ran for ${share}, and waited for most of it: it used ${time(cpu)} of processor time.`,
      'what it waits for (a network, a timer, a client that reads slowly) is what to make faster',
    ];
  return [`The function itself ran for ${share}, with ${time(cpu)} of processor time.`];
}

function sayCold({ report }: InvocationRecord, say: Say): void {
  if (!report?.acquired || report.acquired === 'idle' || !report.coldReason) return;
  const { acquire, init } = report.timings;
  const { because, change } = COLD[report.coldReason];
  const how =
    report.acquired === 'prepared' ? 'a prepared sandbox was made its own' : 'a sandbox was started';
  say(`It was cold by ${time(acquire + init)}: ${how}, because ${because}.`, change);
}

/** What it was refused, which may be why it failed or was slow. */
function sayRefusals({ report }: InvocationRecord, say: Say): void {
  if (!report) return;
  if (report.pidsRefused)
    say(`It was refused ${report.pidsRefused} processes or threads.`, 'raise "pids" in offshoot.json');
  if (report.denied?.length)
    say(
      `The network refused it ${report.denied.map(({ to }) => to).join(', ')}.`,
      'name what it may reach in "network.egress" of offshoot.json',
    );
  if (report.refusedCalls?.length)
    say(`The system call filter refused it ${report.refusedCalls.join(', ')}.`);
  if (report.logBytesDropped > 0)
    say(`${report.logBytesDropped} bytes of its output were cut.`, 'raise "logSize" in offshoot.json');
}

function whyOpen(record: Exclude<AnyInvocation, InvocationRecord>, now: number): Why {
  const { attempts = [], dueAt } = record;
  const sentences: string[] = [];
  const advice: string[] = [];
  const age = Math.max(0, now - record.startedAt);
  if (record.state === 'running') {
    const last = attempts.at(-1);
    sentences.push(`It runs since ${time(now - (last?.startedAt ?? record.startedAt))}.`);
    advice.push('end it: offshoot cancel ID');
  } else if (dueAt !== undefined && dueAt > now) {
    sentences.push(
      attempts.length > 0
        ? `It waits for its next try, in ${time(dueAt - now)}.`
        : `It waits because it was given a delay, for another ${time(dueAt - now)}.`,
    );
  } else {
    sentences.push(`It has waited ${time(age)} for a worker.`);
    advice.push('see that a worker runs and has room: offshoot top');
  }
  if (attempts.length > 0) {
    const failed = attempts.filter(({ outcome }) => outcome !== undefined);
    if (failed.length > 0) sentences.push(`Before, it was tried ${failed.length} times (${tally(failed)}).`);
  }
  const parts = attempts.length > 0 ? triesOf(attempts, record.startedAt, now) : [{ name: 'wait', ms: age }];
  return { sentences, advice, parts };
}

/** The phases of its only run, as in its trace. */
function phasesOf({ gateway, queue, report, duration }: InvocationRecord): Part[] {
  const parts: Part[] = [
    { name: 'gateway', ms: gateway },
    { name: 'queue', ms: queue },
  ];
  if (report) {
    const { acquire, init, run } = report.timings;
    parts.push({ name: 'acquire', ms: acquire }, { name: 'init', ms: init }, { name: 'run', ms: run });
    parts.push({ name: 'reply', ms: duration - gateway - queue - acquire - init - run });
  }
  return parts.filter(({ ms }) => ms > 0);
}

function triesOf(attempts: readonly Attempt[], startedAt: number, now = startedAt): Part[] {
  const parts: Part[] = [];
  let at = startedAt;
  for (const [index, attempt] of attempts.entries()) {
    parts.push({ name: 'wait', ms: attempt.startedAt - at });
    at = attempt.endedAt ?? Math.max(now, attempt.startedAt);
    parts.push({ name: `try ${index + 1}`, ms: at - attempt.startedAt });
  }
  return parts.filter(({ ms }) => ms > 0);
}

/** `2 × timeout, 1 × error`. */
function tally(attempts: readonly Attempt[]): string {
  const counts = Map.groupBy(attempts, ({ outcome }) => outcome ?? 'running');
  return [...counts].map(([outcome, of]) => `${of.length} × ${outcome}`).join(', ');
}

function time(ms: number): string {
  if (ms >= 120_000) return `${Math.round(ms / 6_000) / 10} min`;
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(ms >= 10_000 ? 1 : 2)} s`;
  return ms >= 10 ? `${Math.round(ms)} ms` : `${Math.round(ms * 100) / 100} ms`;
}
