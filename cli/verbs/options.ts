/** The kinds of options and arguments that verbs take. */
import { CliError } from '../terminal/errors.ts';
import type { Argument, Option } from './definition.ts';

/** An option without a value: true if given, while a `--no-…` is true unless given. */
export function flag(flags: string, about: string): Option<boolean> {
  return { flags, about, read: (given) => given === true };
}

/** An option that takes text as it is. */
export function text(flags: string, about: string): Option<string | undefined> {
  return { flags, about, read: textOf };
}

/** An option that may stand several times. */
export function texts(flags: string, about: string): Option<readonly string[]> {
  return {
    flags,
    about: `${about} (repeatable)`,
    repeatable: true,
    read: (given) => (Array.isArray(given) ? given.map(String) : []),
  };
}

/** Bounds of a number. */
export interface Bounds {
  readonly least?: number;
  readonly whole?: boolean;
}

export function number(flags: string, about: string, bounds: Bounds = {}): Option<number | undefined> {
  return {
    flags,
    about,
    read: (given, help) => {
      const value = textOf(given);
      return value === undefined ? undefined : numberIn(value, flags, bounds, help);
    },
  };
}

/** A number, or a word that stands for its absence. */
export function numberOr<const Word extends string>(
  flags: string,
  about: string,
  word: Word,
): Option<number | Word | undefined> {
  return {
    flags,
    about,
    read: (given, help) => {
      const value = textOf(given);
      if (value === undefined) return undefined;
      return value === word ? word : numberIn(value, flags, {}, help, ` or "${word}"`);
    },
  };
}

/** One of a closed list. */
export function choice<const Choice extends string>(
  flags: string,
  about: string,
  choices: readonly Choice[],
): Option<Choice | undefined> {
  return {
    flags,
    about: `${about}: ${listed(choices)}`,
    read: (given, help) => {
      const value = textOf(given);
      const found = choices.find((one) => one === value);
      if (found !== undefined || value === undefined) return found;
      throw new CliError('usage', `${longOf(flags)} takes ${listed(choices)}, not "${value}"`, {
        code: 'bad_usage',
        next: help,
      });
    },
  };
}

/** The option with a value for when it is not given. */
export function usually<Value extends string | number>(
  option: Option<Value | undefined>,
  value: Value,
): Option<Value> {
  return {
    ...option,
    about: `${option.about} (default: ${value})`,
    read: (given, help) => option.read(given, help) ?? value,
  };
}

/** An argument that the verb cannot do without. `find`: the command that lists possible values. */
export function required(about: string, find?: string): Argument<string> {
  return { about, required: true, find, read: String };
}

export function optional(about: string): Argument<string | undefined> {
  return { about, required: false, read: textOf };
}

/** All words that are left. */
export function words(about: string): Argument<readonly string[]> {
  return {
    about,
    required: false,
    variadic: true,
    read: (given) => (Array.isArray(given) ? given.map(String) : []),
  };
}

function textOf(given: unknown): string | undefined {
  return typeof given === 'string' ? given : undefined;
}

/** `list, show and purge`. */
export function listed(names: readonly string[], word = 'or'): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} ${word} ${names.at(-1)}`;
}

/** The long form of an option: `--limit` of `-l, --limit <count>`. */
export function longOf(flags: string): string {
  return /--[\w-]+/.exec(flags)?.[0] ?? flags;
}

function numberIn(given: string, flags: string, { least, whole }: Bounds, help: string, or = ''): number {
  const value = given.trim() === '' ? Number.NaN : Number(given);
  const fits = Number.isFinite(value) && value >= (least ?? value) && (!whole || Number.isInteger(value));
  if (fits) return value;
  const kind = whole ? 'whole number' : 'number';
  const from = least === undefined ? '' : ` of at least ${least}`;
  throw new CliError('usage', `${longOf(flags)} takes a ${kind}${from}${or}, not "${given}"`, {
    code: 'bad_usage',
    next: help,
  });
}
