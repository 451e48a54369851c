/** Mistakes in the command line: a sentence on each, the nearest right word, and the command to type next. */
import type { Command } from 'commander';
import { CliError } from '../terminal/errors.ts';
import { shellWord } from '../terminal/text.ts';
import { listed, longOf } from './options.ts';

/** A command line that the parser refuses. */
export class Refused extends Error {
  override readonly name = 'Refused';
  /** As commander names it: `commander.unknownOption`. */
  readonly code: string;
  /** The command at which the parser stopped. */
  readonly command: Command;
  /** The word that is wrong, or the name of the part that is missing. */
  readonly word: string;
  /** The command that lists what could stand there, if there is one. */
  readonly find: string | undefined;

  constructor(code: string, command: Command, word = '', find?: string) {
    super(`${code} ${word}`);
    this.code = code;
    this.command = command;
    this.word = word;
    this.find = find;
  }
}

/** A word behind a group that names none of its verbs. Undefined for a verb, whose words are its arguments. */
export function strayWord({ commands, args }: Command): string | undefined {
  return commands.length === 0 ? undefined : args.find((word) => !word.startsWith('-'));
}

/** The error to show. `argv`: the whole command line, which `next` repeats with the word corrected. */
export async function errorOf(refused: Refused, argv: readonly string[]): Promise<CliError> {
  const { code, command, word, find } = refused;
  const whole = wholeName(command);
  const help = ['offshoot help', ...whole.split(' ').slice(1)].join(' ');
  const names = command.commands.map((one) => one.name());
  const refuse = (message: string, next = help): CliError =>
    new CliError('usage', message, { code: 'bad_usage', next });
  switch (code) {
    case 'commander.unknownCommand': {
      const meant = uniqueBelow(command, word) ?? (await nearest(word, names));
      if (meant !== undefined) {
        return refuse(
          `${whole} has no verb "${word}"; did you mean "${meant}"?`,
          corrected(argv, word, meant),
        );
      }
      return refuse(
        `${whole} has no verb "${word}"${command.parent && names.length > 0 ? `; it has ${listed(names, 'and')}` : ''}`,
      );
    }
    case 'commander.unknownOption': {
      const [flag = ''] = word.split('=');
      const known = command.options.flatMap(({ long }) => long ?? []);
      const meant = flag.startsWith('--') ? await nearest(flag, [...known, '--help']) : undefined;
      return meant === undefined
        ? refuse(`${whole} has no option ${flag}`)
        : refuse(`${whole} has no option ${flag}; did you mean ${meant}?`, corrected(argv, flag, meant));
    }
    case 'commander.missingArgument': {
      const argument = command.registeredArguments.find((one) => one.name() === word);
      return refuse(`${whole} needs ${word.toUpperCase()}: ${argument?.description ?? ''}`, find);
    }
    case 'commander.excessArguments': {
      const most = command.registeredArguments.length;
      const surplus = command.args.slice(most).map(shellWord).join(' ');
      const takes = most === 0 ? 'no argument' : most === 1 ? 'one argument' : `${most} arguments`;
      return refuse(`${whole} takes ${takes}; left over: ${surplus}`);
    }
    case 'commander.optionMissingArgument':
      return refuse(`${whole} needs a value behind ${longOf(word)}`);
    case 'commander.help':
      return refuse(`${whole} needs a verb: ${listed(names)}`);
    default:
      return refuse(`${whole}: ${code} ${word}`);
  }
}

function wholeName(command: Command): string {
  return command.parent ? `${wholeName(command.parent)} ${command.name()}` : command.name();
}

/** `dlq purge` for `purge`, if no other group has a verb of that name. */
function uniqueBelow(command: Command, word: string): string | undefined {
  const groups = command.commands.filter(({ commands }) => commands.some((one) => one.name() === word));
  return groups.length === 1 ? `${groups[0]?.name()} ${word}` : undefined;
}

/**
 * The nearest name with the same first letter, which typing rarely misses. The module is loaded only for a mistake, because it
 * brings the schema library along.
 */
async function nearest(word: string, names: readonly string[]): Promise<string | undefined> {
  const { nearestName } = await import('#contract/functions/names.ts');
  return nearestName(
    word,
    names.filter((name) => firstLetter(name) === firstLetter(word)),
  );
}

function firstLetter(name: string): string {
  return name.replace(/^-+/, '').charAt(0);
}

/** The command line with a word corrected. A key in it is not repeated. */
function corrected(argv: readonly string[], wrong: string, right: string): string {
  const at = argv.findIndex((word) => word === wrong || word.startsWith(`${wrong}=`));
  const words = argv.map((word, index) => {
    if (argv[index - 1] === '--key') return 'KEY';
    if (word.startsWith('--key=')) return '--key=KEY';
    if (index !== at) return shellWord(word);
    return word === wrong ? right : `${right}=${shellWord(word.slice(wrong.length + 1))}`;
  });
  return ['offshoot', ...words].join(' ');
}
