/**
 * The definition of a verb: its name, summary, arguments, options and examples, as values. The compiler infers the parameters of the
 * verb's handler from them. Help, parser, tests and docs/cli.md read the same values. Nothing heavy is imported here, because each
 * start of the command loads all definitions.
 */

/** Turns a finding of the parser into a value. Throws CliError for a wrong one; `help` is the command that explains the verb. */
export interface Reader<Value> {
  read(given: unknown, help: string): Value;
}

export interface Option<Value> extends Reader<Value> {
  /** As commander takes them: `-f, --follow`, `--limit <count>`. */
  readonly flags: string;
  readonly about: string;
  readonly repeatable?: boolean;
}

export interface Argument<Value> extends Reader<Value> {
  readonly about: string;
  readonly required: boolean;
  /** True if it takes all words that are left. */
  readonly variadic?: boolean;
  /** The command that lists possible values, for a user who gave none. */
  readonly find?: string | undefined;
}

/** Whole command lines. A comment of the shell may follow one: `offshoot logs hello -f  # until Ctrl-C`. */
export type Examples = readonly [string, ...string[]];

/** `Args` and `Options` are the types of the values, each by its key. The order of arguments is that of their keys. */
export interface Definition<Args, Options> {
  readonly name: string;
  /** One clause without a full stop, for lists of verbs and the head of the verb's help. */
  readonly summary: string;
  /** Sentences below the summary in the verb's help. */
  readonly details?: string;
  readonly args: { readonly [Key in keyof Args]: Argument<Args[Key]> };
  readonly options: { readonly [Key in keyof Options]: Option<Options[Key]> };
  readonly examples: Examples;
}

/** A definition as it is, with its types inferred. */
export function define<Args, Options>(definition: Definition<Args, Options>): Definition<Args, Options> {
  return definition;
}

/** The values that the handler of a definition gets, arguments and options by their keys. */
export type Given<Of> = Of extends Definition<infer Args, infer Options> ? Args & Options : never;

/** Reads all values of a kind. `given`: findings of the parser, by the keys of the readers. */
export function readAll<Values>(
  readers: { readonly [Key in keyof Values]: Reader<Values[Key]> },
  given: Readonly<Record<string, unknown>>,
  help: string,
): Values {
  const values: Partial<Values> = {};
  for (const key in readers) values[key] = readers[key].read(given[key], help);
  if (isWhole(values, readers)) return values;
  throw new TypeError('a reader of the command line is missing');
}

function isWhole<Values>(values: Partial<Values>, readers: object): values is Values {
  return Object.keys(readers).every((key) => key in values);
}
