/** Formats of figures. One precision for each size, so that columns of them can be compared. */

export function ms(value: number | undefined): string {
  if (value === undefined) return '–';
  if (value < 10) return `${value.toFixed(2)} ms`;
  if (value < 100) return `${value.toFixed(1)} ms`;
  if (value < 1_000) return `${value.toFixed(0)} ms`;
  if (value < 120_000) return `${(value / 1_000).toFixed(2)} s`;
  return lasting(value);
}

/** A length of time in its two largest units. */
export function lasting(value: number): string {
  const seconds = Math.max(0, Math.round(value / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

export function ago(time: number, now: number): string {
  const passed = now - time;
  if (passed < 1_500) return 'just now';
  if (passed < 60_000) return `${Math.round(passed / 1_000)} s ago`;
  if (passed < 3_600_000) return `${Math.round(passed / 60_000)} min ago`;
  if (passed < 86_400_000) return `${Math.round(passed / 3_600_000)} h ago`;
  return `${Math.round(passed / 86_400_000)} d ago`;
}

export function ahead(time: number, now: number): string {
  return time <= now ? 'now' : `in ${lasting(time - now)}`;
}

export function bytes(value: number): string {
  if (value < 1_024) return `${value} B`;
  if (value < 1_024 ** 2) return `${short(value / 1_024)} KB`;
  if (value < 1_024 ** 3) return `${short(value / 1_024 ** 2)} MB`;
  return `${short(value / 1_024 ** 3)} GB`;
}

function short(value: number): string {
  return Number.isInteger(value) || value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

export function share(value: number | undefined): string {
  if (value === undefined) return '–';
  const percent = value * 100;
  return percent === 0 || percent >= 10 ? `${percent.toFixed(0)} %` : `${percent.toFixed(1)} %`;
}

export function rate(perMinute: number): string {
  if (perMinute === 0) return '0';
  return perMinute < 10 ? perMinute.toFixed(1) : String(Math.round(perMinute));
}

const NUMBERS = new Intl.NumberFormat('en-GB');
export function count(value: number): string {
  return NUMBERS.format(value);
}

/** `200+` if there may be more than were counted. */
export function atLeast(value: number, more: boolean): string {
  return more ? `${count(value)}+` : count(value);
}

const TIME = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
export function clock(time: number): string {
  return TIME.format(time);
}

const DAY = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
});
export function moment(time: number): string {
  return DAY.format(time);
}

/** With milliseconds, since log lines are close together. */
export function exact(time: number): string {
  return `${clock(time)}.${String(Math.floor(time % 1_000)).padStart(3, '0')}`;
}

/** Control characters except tabs and line ends, characters that reverse the direction of text, and halves of characters. */
// oxlint-disable-next-line no-control-regex -- it searches for control characters
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\p{Cs}]/gu;

/** Text of a function: characters that would be invisible, or make other text look different, are shown as signs. */
export function seen(text: string): string {
  return text.replace(UNSEEN, (sign) => {
    const code = sign.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '\u2421' : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** `out of memory` for `out_of_memory`. */
export function inWords(code: string): string {
  return code.replaceAll('_', ' ');
}
