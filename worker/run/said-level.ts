/**
 * Finds the level that a logger has written into its line: pino and bunyan as a number, winston as a word, Google Cloud as
 * `severity`. The stream by which the line came says less. A tenant wrote the line, so it chooses no more than a level of its own.
 */
import type { LogLevel } from '#contract/invocations/invocation.ts';

type Said = Exclude<LogLevel, 'platform' | 'stdout' | 'stderr' | 'log'>;

/** Words of winston (npm, syslog and cli), log4js, zap, Python, Google Cloud and OpenTelemetry, in lower case. */
const WORDS: ReadonlyMap<string, Said> = new Map(
  (
    [
      ['trace', 'trace silly finest'],
      ['debug', 'debug verbose http fine finer'],
      ['info', 'info information informational notice success default log mark'],
      ['warn', 'warn warning'],
      ['error', 'error err severe'],
      ['fatal', 'fatal critical crit alert emerg emergency panic dpanic'],
    ] as const
  ).flatMap(([level, words]) => words.split(' ').map((word) => [word, level] as const)),
);

/** Least numbers of the levels of pino and bunyan, then of Google Cloud (a hundred and more). */
const NUMBERS: readonly (readonly [number, Said])[] = [
  [600, 'fatal'],
  [500, 'error'],
  [400, 'warn'],
  [200, 'info'],
  [100, 'debug'],
  [60, 'fatal'],
  [50, 'error'],
  [40, 'warn'],
  [30, 'info'],
  [20, 'debug'],
  [10, 'trace'],
];

/** Numbers of syslog, which GELF has as its `level` (RFC 5424, section 6.2.1). */
const SYSLOG: readonly Said[] = ['fatal', 'fatal', 'fatal', 'error', 'warn', 'info', 'info', 'debug'];

/** The beginning of a line that is text: `error: …`, `[WARN] …`, `ERROR:root:…`. */
const BARE = /^(?:\[([A-Za-z]{3,13})\](?=[\s:]|$)|([A-Za-z]{3,13}):(?=\s)|([A-Z]{3,13}):)/;
/** The same after a time: `2026-11-29T15:44:01 INFO …`, `[2026-11-29 15:44:01] [WARN] …`. */
const STAMPED = /^\[?\d[\dTZ:.,+\- ]{7,31}\]?:? +\[?([A-Za-z]{3,13})\b/;
/** A field of logfmt, as programs in Go write it. */
const LOGFMT = /(?:^|\s)(?:level|lvl|severity)="?([a-z]{3,13})"?(?=\s|$)/i;
const COLOUR = new RegExp(`${String.fromCharCode(27)}\\[[\\d;]{0,8}m`, 'g');
/** Upper bound on the characters of a text in which a level is looked for: it stands at the beginning. */
const TEXT_CHARACTERS = 128;
/** Names of the field in a line of JSON. */
const JSON_FIELD = /"(?:level|severity|lvl|levelname|log\.level|log|severityText|level_name)"/;

const OPENING_BRACE = 123;
const CLOSING_BRACE = 125;

/** Returns the level that the whole line names; undefined if it names none. `isPlain`: nothing else tells the level. */
export function saidLevel(text: string, isPlain: boolean): Said | undefined {
  if (text.charCodeAt(0) === OPENING_BRACE) {
    return text.charCodeAt(text.length - 1) === CLOSING_BRACE && JSON_FIELD.test(text)
      ? levelOfJson(text)
      : undefined;
  }
  // A method of console has said the level already.
  if (!isPlain) return undefined;
  const head = text.slice(0, TEXT_CHARACTERS).replace(COLOUR, '');
  const found = BARE.exec(head) ?? STAMPED.exec(head) ?? (head.includes('=') ? LOGFMT.exec(head) : null);
  const word = found?.slice(1).find((part) => part !== undefined);
  return word === undefined ? undefined : WORDS.get(word.toLowerCase());
}

function levelOfJson(text: string): Said | undefined {
  let line: Readonly<Record<string, unknown>>;
  try {
    line = JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
  const nested = line['log'];
  const inLog =
    typeof nested === 'object' && nested !== null ? (nested as { level?: unknown }).level : undefined;
  const given = [
    line['level'],
    line['severity'],
    line['log.level'],
    line['lvl'],
    line['levelname'],
    line['level_name'],
    line['severityText'],
    inLog,
  ];
  for (const value of given) {
    const level = typeof value === 'number' ? levelOfNumber(value, line) : levelOfWord(value);
    if (level) return level;
  }
  return undefined;
}

function levelOfNumber(value: number, line: Readonly<Record<string, unknown>>): Said | undefined {
  if ('short_message' in line) return SYSLOG[value];
  return NUMBERS.find(([least]) => value >= least)?.[1];
}

/** Colours are part of the word where winston's `colorize()` stands before `json()`. */
function levelOfWord(value: unknown): Said | undefined {
  if (typeof value !== 'string' || value.length > TEXT_CHARACTERS) return undefined;
  const word = value.replace(COLOUR, '').trim().toLowerCase();
  return WORDS.get(word) ?? (/^\d{1,3}$/.test(word) ? levelOfNumber(Number(word), {}) : undefined);
}
