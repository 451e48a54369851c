/** Small pure functions that turn values into what a person reads. */

import { defuse } from '#contract/api/text.ts';

export { defuse };

/** The same for text of several lines, whose line ends are kept. */
export function defuseLines(text: string): string[] {
  return text.split(/\r?\n/).map(defuse);
}

/** `850 B`, `12.3 kB`, `4.0 MB`. */
export function bytes(count: number): string {
  if (count < 1_000) return `${count} B`;
  if (count < 1_000_000) return `${(count / 1_000).toFixed(1)} kB`;
  return `${(count / 1_000_000).toFixed(1)} MB`;
}

/** `0.42 ms`, `12.3 ms`, `1.23 s`: three figures that matter. */
export function milliseconds(duration: number): string {
  if (duration >= 10_000) return `${(duration / 1_000).toFixed(1)} s`;
  if (duration >= 1_000) return `${(duration / 1_000).toFixed(2)} s`;
  if (duration >= 100) return `${duration.toFixed(0)} ms`;
  return duration >= 10 ? `${duration.toFixed(1)} ms` : `${duration.toFixed(2)} ms`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** Date and time of day with milliseconds, in the zone of the reader. */
export function clock(unixMilliseconds: number): string {
  const date = new Date(unixMilliseconds);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** `3 s ago`, `5 min ago`, `2 h ago`, `4 d ago`. */
export function ago(unixMilliseconds: number, now = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - unixMilliseconds) / 1_000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 36 * 3_600) return `${Math.round(seconds / 3_600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

/** Cut to `width` columns, with a mark where it was cut. */
export function clip(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}

/** A word as POSIX sh takes it, for commands that are printed to be copied. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_\-./:=@,+%]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
