/** Commands of `offshoot` as texts have them, held against the program's own parser. */
import { CommanderError } from 'commander';
import { parserOf } from '../../../cli/program.ts';
import { CliError } from '../../../cli/terminal/errors.ts';
import type { Call } from '../../../cli/verbs/parser.ts';
import { errorOf, Refused } from '../../../cli/verbs/refusal.ts';

/** The commands of a line of a shell, each as its words. Operators and comments end a command; a redirection is left out. */
export function commandsOf(line: string): string[][] {
  const commands: string[][] = [[]];
  let redirected = false;
  const token =
    /\s*(?:(#.*$)|(\|\||&&|[|;&()])|(\d?>>?|<)|((?:'[^']*'|"[^"]*"|\\.|[^\s|;&()<>'"\\])+)|(['"<>]))/gy;
  for (const [, comment, operator, redirection, word] of line.matchAll(token)) {
    if (comment !== undefined) break;
    if (operator !== undefined) commands.push([]);
    else if (redirection !== undefined) redirected = true;
    else if (redirected) redirected = false;
    else if (word !== undefined) commands.at(-1)?.push(unquoted(word));
  }
  return commands.filter((words) => words.length > 0);
}

function unquoted(word: string): string {
  return word.replaceAll(/'([^']*)'|"([^"]*)"|\\(.)/g, (_all, single, double, escaped) =>
    String(single ?? double ?? escaped),
  );
}

const QUIET = { writeOut: () => undefined, writeErr: () => undefined };

/** A word that stands for a value: `ID`, `NAMESPACE/NAME`, `@FILE`, `…`. */
const PLACEHOLDER = /^@?[A-Z][A-Z_/]*$|…/;

/**
 * Why the program refuses the words behind `offshoot`, or undefined. Nothing runs. Values are read too, such as numbers, unless a word
 * only stands for one.
 */
export async function refusalOf(words: readonly string[]): Promise<string | undefined> {
  const read = !words.some((word) => PLACEHOLDER.test(word));
  let named = false;
  const perform = async ({ verb, found, path }: Call): Promise<void> => {
    named = true;
    if (read) verb.prepare(found, `offshoot help ${path}`);
  };
  try {
    await parserOf(false, perform, QUIET).parseAsync(words, { from: 'user' });
    return named ? undefined : 'it names no verb';
  } catch (error) {
    if (error instanceof CommanderError) return undefined;
    if (error instanceof Refused) return (await errorOf(error, words)).message;
    if (error instanceof CliError) return error.message;
    throw error;
  }
}

/** True if the words name a verb or group and nothing else, as a sentence about it does: `dlq`, `dlq redrive`. */
export function namesVerb(words: readonly string[]): boolean {
  let command = parserOf(false, async () => undefined);
  for (const word of words) {
    const below = command.commands.find((one) => one.name() === word);
    if (!below) return false;
    command = below;
  }
  return words.length > 0;
}

/** The commands of `offshoot` in a sentence: each behind a colon, up to the next punctuation. */
export function commandsInSentence(sentence: string): string[][] {
  const found = [...sentence.matchAll(/(?:^|: )offshoot ([^;,)]*)/g)];
  return found.flatMap(([, rest = '']) => commandsOf(rest).slice(0, 1));
}
