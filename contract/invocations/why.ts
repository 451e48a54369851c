/**
 * Why an invocation took its time and ended as it did: in words for a person, with the setting that would change it. Made from
 * the record alone, so that all clients say the same.
 */
import { egressAdvice } from '../functions/network.ts';
import { nextWith } from './next.ts';
import { cancelledText } from './canceller.ts';
import { DEAD } from './dead-letter.ts';
import type { AnyInvocation, Attempt, ColdReason, InvocationRecord } from './invocation.ts';
import { OUTCOMES } from './outcome.ts';

/** A part of the time of an invocation; the parts lie end to end. */
export interface Part {
  readonly name: string;
  readonly ms: number;
}

export interface Why {
  readonly sentences: readonly string[];
  /** Changes that would help, the most promising first. */
  readonly advice: readonly string[];
  readonly parts: readonly Part[];
}

/** Smallest share of the whole, and fewest milliseconds, for a part that made an invocation slow. */
const NOTABLE_SHARE = 0.25;
const NOTABLE_MS = 5;
/** Shares of a run spent on computing. Above the first, a faster processor would help; below the second, the run waited. */
const BUSY = 0.8;
const WAITING = 0.2;

const COLD: Readonly<Record<ColdReason, { because: string; change?: string }>> = {
  first_call: {
    because: 'no sandbox of the function had been started on that worker before',
    change: 'raise OFFSHOOT_PREPARED of the worker: prepared sandboxes make a first call shorter',
  },
  new_version: {
    because: 'the version was new, and sandboxes of an older one cannot run it',
    change: 'no change is needed: the next calls find its sandbox',
  },
  all_busy: {
    because: 'each of its sandboxes was busy with another invocation',
    change:
      'raise "concurrency" in offshoot.json if the function can run several invocations at once; batches and queued calls spread a burst',
  },
  evicted: {
    because: 'its last sandbox had been ended, for its age or because others needed the memory',
    change: 'raise OFFSHOOT_KEEP_ALIVE_S or OFFSHOOT_MAX_SANDBOXES of the worker',
  },
  sandbox_ended: {
    because: 'its last sandbox had ended by itself or had been killed',
    change: 'find the cause of that end: offshoot invocations NAME; between invocations: offshoot logs NAME',
  },
  single_use: {
    because: 'each invocation of the function gets a sandbox of its own',
    change:
      'set "isolation.mode" to "sandbox" in offshoot.json: invocations then share a sandbox, one after the other',
  },
};

/** `now`: Unix time in milliseconds, for an invocation that has not ended. */
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
    const cause = record.message ?? report?.exitCause ?? report?.error?.message;
    say(
      `It ended as ${outcome} after ${time(duration)}: ${facts.meaning}${cause === undefined ? '' : ` (${cause})`}.`,
      facts.next,
    );
    if (record.cancelledBy) say(`It was cancelled ${cancelledText(record.cancelledBy)}.`);
    if ((facts.sandbox === 'ended' || facts.sandbox === 'spent') && report?.sandbox !== undefined)
      say(
        'grace' in facts
          ? 'Unless its code ended by itself in the grace, its sandbox ended with it, and the next call may be cold.'
          : 'Its sandbox ended with it, so the next call may be cold.',
      );
  }
  if (attempts.length > 1) {
    const failed = attempts.filter(({ outcome: of }) => of !== 'ok');
    say(
      `It was tried ${times(attempts.length)}; ${failed.length} of the tries failed (${tally(failed)}), with a wait before each further one.`,
      'change "retries" in offshoot.json: the number of tries and the waits between them',
    );
  }
  if (dead) say(`It is a dead letter, because ${DEAD[dead].because}.`, DEAD[dead].change);
  sayTime(record, parts, say);
  sayCold(record, say);
  sayRefusals(record, say);
  return { sentences, advice: [...new Set(advice)].filter(Boolean), parts };
}

type Say = (sentence: string, change?: string) => void;

/** Says where most of the time went. */
function sayTime(record: InvocationRecord, parts: readonly Part[], say: Say): void {
  const total = parts.reduce((sum, { ms }) => sum + ms, 0);
  for (const { name, ms } of parts.toSorted((a, b) => b.ms - a.ms)) {
    if (ms < NOTABLE_MS || ms < total * NOTABLE_SHARE) continue;
    const share = `${time(ms)} (${Math.round((ms / total) * 100)} %)`;
    switch (name) {
      case 'queue':
        say(
          record.lane === 'sync'
            ? `It waited ${share} for a worker: all workers were full.`
            : `It waited ${share} in the queue of its namespace.`,
          'add a worker, or raise OFFSHOOT_CAPACITY of a worker with idle processors',
        );
        break;
      case 'gateway':
        say(`It spent ${share} in the gateway, most of it on receiving the body of the request.`);
        break;
      case 'init':
        say(
          `Loading its module took ${share}.`,
          'do less at the top level of the module, and import a dependency in the call that needs it',
        );
        break;
      case 'run':
        say(...runText(record, ms, share));
        break;
      case 'acquire':
        // The cold start below gives the reason.
        if (!record.report?.coldReason)
          say(
            `It waited ${share} for a free sandbox of the function.`,
            'raise "concurrency" in offshoot.json if the function can run several invocations at once',
          );
        break;
      case 'reply':
        say(`Sending its answer to a slow reader took ${share}.`);
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
      `The function itself ran for ${share} and computed for nearly all of it (${time(cpu)} of processor time).`,
      'raise "cpu" in offshoot.json if it is below 1, or if the function can use several processors',
    ];
  if (cpu < ms * WAITING)
    return [
      `The function itself ran for ${share}, and waited for most of it: it used ${time(cpu)} of processor time.`,
      'find its wait and make that faster: a network, a timer, or a client that reads slowly',
    ];
  return [`The function itself ran for ${share}, with ${time(cpu)} of processor time.`];
}

function sayCold({ report }: InvocationRecord, say: Say): void {
  if (!report?.acquired || report.acquired === 'idle' || !report.coldReason) return;
  const { acquire, init } = report.timings;
  const { because, change } = COLD[report.coldReason];
  const how = report.acquired === 'prepared' ? 'it took over a prepared sandbox' : 'a sandbox was started';
  say(`It was cold by ${time(acquire + init)}: ${how}, because ${because}.`, change);
}

/** Says what the sandbox was refused, which may be why it failed or was slow. */
function sayRefusals({ report }: InvocationRecord, say: Say): void {
  if (!report) return;
  if (report.pidsRefused)
    say(`The kernel refused it ${report.pidsRefused} processes or threads.`, 'raise "pids" in offshoot.json');
  if (report.denied?.length)
    say(
      `The network refused it ${report.denied.map(({ to }) => to).join(', ')}.`,
      egressAdvice(report.denied) ?? 'name its destinations in "network.egress" of offshoot.json',
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
    sentences.push(`It has been running for ${time(now - (last?.startedAt ?? record.startedAt))}.`);
    advice.push('end it: offshoot cancel ID');
  } else if (dueAt !== undefined && dueAt > now) {
    sentences.push(
      attempts.length > 0
        ? `It waits for its next try, in ${time(dueAt - now)}.`
        : `It waits for the end of its delay, in ${time(dueAt - now)}.`,
    );
  } else {
    sentences.push(`It has waited ${time(age)} for a worker.`);
    advice.push('check that a worker runs and has room: offshoot top');
  }
  if (attempts.length > 0) {
    const failed = attempts.filter(({ outcome }) => outcome !== undefined);
    if (failed.length > 0) sentences.push(`Before, it was tried ${times(failed.length)} (${tally(failed)}).`);
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

/** `once`, `3 times`. */
function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
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
