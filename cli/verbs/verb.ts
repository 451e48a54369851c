/** Verbs and groups of verbs: the tree that parser, help and docs/cli.md are made of. */
import type { Context } from '../terminal/context.ts';
import { readAll, type Argument, type Definition, type Examples, type Option } from './definition.ts';

/** Findings of the parser, by the keys of the definition. Not read yet. */
export interface Found {
  readonly args: Readonly<Record<string, unknown>>;
  readonly options: Readonly<Record<string, unknown>>;
}

/** An exit code, or nothing for success. */
export type End = Promise<number | undefined | void>;

export interface Verb {
  readonly kind: 'verb';
  readonly name: string;
  readonly summary: string;
  readonly details: string | undefined;
  readonly args: Readonly<Record<string, Argument<unknown>>>;
  readonly options: Readonly<Record<string, Option<unknown>>>;
  readonly examples: Examples;
  /** Reads all values at once, so that a wrong one is refused before anything is done. */
  prepare(found: Found, help: string): (context: Context) => End;
}

/** Verbs of one noun, such as `dlq`, or of the whole program. */
export interface Group {
  readonly kind: 'group';
  readonly name: string;
  readonly summary: string;
  readonly examples: Examples;
  readonly sections: readonly Section[];
}

/** Verbs that stand together in the help of their group. */
export interface Section {
  readonly title: string;
  readonly members: readonly (Verb | Group)[];
}

/**
 * A definition with its handler. `load` imports the handler only when the verb runs, so that a start does not load what the other
 * verbs need.
 */
export function verb<Args, Options>(
  definition: Definition<Args, Options>,
  load: () => Promise<(context: Context, given: Args & Options) => End>,
): Verb {
  const { name, summary, details, args, options, examples } = definition;
  return {
    kind: 'verb',
    name,
    summary,
    details,
    args,
    options,
    examples,
    prepare(found, help) {
      const given = { ...readAll(args, found.args, help), ...readAll(options, found.options, help) };
      return async (context) => (await load())(context, given);
    },
  };
}

/** A noun with its verbs. */
export function group(name: string, summary: string, examples: Examples, verbs: readonly Verb[]): Group {
  return { kind: 'group', name, summary, examples, sections: [{ title: 'Verbs', members: verbs }] };
}

/** All members of a group, whatever their section. */
export function membersOf({ sections }: Group): readonly (Verb | Group)[] {
  return sections.flatMap(({ members }) => members);
}
