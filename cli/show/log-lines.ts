/** Log lines of functions: fetched, followed, filtered and shown. */
import { setTimeout as sleep } from 'node:timers/promises';
import { FunctionLog, FunctionLogLine } from '#contract/api/api.ts';
import type { LogLevel, LogLine } from '#contract/invocations/invocation.ts';
import type { Client } from '../api/client.ts';
import { functionPath } from '../api/paths.ts';
import { CliError } from '../terminal/errors.ts';
import { serverSentEvents } from '../api/sse.ts';
import type { Style, Terminal } from '../terminal/terminal.ts';
import { clock, defuse } from '../terminal/text.ts';

/** How grave a line is; what is written past `console` counts as ordinary output. `platform` always shows. */
const GRAVITY: Record<LogLevel, number> = {
  debug: 0,
  log: 1,
  info: 1,
  stdout: 1,
  stderr: 2,
  warn: 2,
  error: 3,
  platform: 4,
};
const COLOURS: Partial<Record<LogLevel, Style>> = {
  debug: 'gray',
  warn: 'yellow',
  error: 'red',
  platform: 'magenta',
};

const RECONNECT_FIRST_MS = 250;
const RECONNECT_LAST_MS = 5_000;

export interface LogFilter {
  readonly invocation?: string | undefined;
  readonly level?: LogLevel | undefined;
  /** Text that a line has in it. */
  readonly grep?: string | undefined;
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time as people write it, as Unix time in milliseconds: `30s`, `10m`, `2h`, `1d` ago, or a date. */
export function parseSince(text: string, now = Date.now()): number {
  const [, count, unit = ''] = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text) ?? [];
  const isDate = /^\d{4}-\d\d/.test(text);
  const time =
    count !== undefined ? now - Number(count) * (UNITS[unit] ?? 0) : isDate ? Date.parse(text) : NaN;
  if (!Number.isNaN(time)) return Math.max(0, Math.round(time));
  throw new CliError('usage', `"${text}" is no time`, {
    next: 'offshoot logs NAME --since 10m (or 30s, 2h, 1d, 2026-01-31T12:00Z)',
  });
}

/** Answers whether to show a line. */
export function logFilter({ invocation, level, grep }: LogFilter): (line: FunctionLogLine) => boolean {
  const least = level === undefined ? 0 : GRAVITY[level];
  return (line) =>
    GRAVITY[line.level] >= least &&
    (invocation === undefined || line.invocation === invocation) &&
    (grep === undefined || line.text.includes(grep));
}

/** All lines of one invocation, which are kept for longer than the log of its function; undefined when it is not known. */
export async function invocationLines(
  client: Client,
  namespace: string,
  name: string,
  id: string,
): Promise<FunctionLogLine[] | undefined> {
  try {
    const found = await client.invocation(id);
    if (found.namespace !== namespace || found.name !== name) return [];
    return found.logs.map((line) => ({ ...line, invocation: id }));
  } catch (error) {
    if (error instanceof CliError && error.code === 'invocation_not_found') return undefined;
    throw error;
  }
}

/** The lines that the platform still has, from `since` on (Unix time of the platform). */
export async function recentLogs(
  client: Client,
  namespace: string,
  name: string,
  since = 0,
): Promise<FunctionLog> {
  const response = await client.request(`${functionPath(namespace, name)}/logs?since=${since}`);
  if (!response.ok) throw await client.failure(response);
  return FunctionLog.parse(await response.json());
}

/**
 * Lines as they come, until the signal, the first ones from `since` (Unix time of the platform) on. A lost connection is made anew,
 * from where it broke off.
 */
export async function* followLogs(
  client: Client,
  namespace: string,
  name: string,
  signal: AbortSignal,
  since: number,
  onBreak: (message: string) => void = () => undefined,
): AsyncGenerator<FunctionLogLine> {
  let last: string | undefined;
  let wait = RECONNECT_FIRST_MS;
  let everConnected = false;
  while (!signal.aborted) {
    try {
      const response = await client.request(
        `${functionPath(namespace, name)}/logs?follow=true&since=${since}`,
        {
          headers: { accept: 'text/event-stream', ...(last !== undefined && { 'last-event-id': last }) },
          signal,
        },
      );
      if (!response.ok || !response.body) throw await client.failure(response);
      everConnected = true;
      wait = RECONNECT_FIRST_MS;
      for await (const event of serverSentEvents(response.body)) {
        last = event.id ?? last;
        const line = FunctionLogLine.safeParse(parseJson(event.data));
        if (line.success) yield line.data;
      }
    } catch (error) {
      if (signal.aborted) return;
      // A failure of the first connection is an error; one that breaks later may come back.
      if (!everConnected || (error instanceof CliError && error.kind !== 'unreachable')) throw error;
      onBreak(error instanceof Error ? error.message : String(error));
    }
    await sleep(wait, undefined, { signal }).catch(() => undefined);
    wait = Math.min(wait * 2, RECONNECT_LAST_MS);
  }
}

/** One line as a person reads it. The text of a function is untrusted: it must not reach the terminal raw. */
export function formatLog(line: LogLine & { invocation?: string | undefined }, terminal: Terminal): string {
  const colour = COLOURS[line.level];
  const level = line.level.padEnd(8);
  const whose = line.invocation ?? (line.sandbox === undefined ? '' : `sandbox ${line.sandbox}`);
  const id = whose === '' ? '' : `${terminal.style('dim', whose)}  `;
  const origin = line.origin === undefined ? '' : `${terminal.style('magenta', line.origin)}  `;
  const attempt = line.attempt === undefined ? [] : [`try ${line.attempt}`];
  const item = line.item === undefined ? [] : [`item ${line.item}`];
  const of = [...attempt, ...item].join(' ');
  return `${terminal.style('dim', clock(line.time))}  ${id}${of && `${terminal.style('dim', of)}  `}${origin}${colour ? terminal.style(colour, level) : level}  ${defuse(line.text)}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
