/** The tree of verbs as commands of commander, which parses, shows help and finds mistakes. */
import { Command, Option as CommanderOption } from 'commander';
import { terminalJson } from '#contract/api/text.ts';
import type { GlobalFlags } from '../terminal/context.ts';
import { readAll, type Option } from './definition.ts';
import { argumentTerm, descriptionOf, examplesText, helpDocument, operandsOf } from './help.ts';
import { Refused, strayWord } from './refusal.ts';
import { shared } from './shared.ts';
import type { Found, Group, Verb } from './verb.ts';

/** A verb with its words from the command line. */
export interface Call {
  readonly verb: Verb;
  /** Such as `dlq redrive`. */
  readonly path: string;
  readonly found: Found;
  readonly flags: GlobalFlags;
}

/** Places for help and version, and for the help that answers a mistake. */
export interface Output {
  readonly writeOut: (text: string) => void;
  readonly writeErr: (text: string) => void;
}

export interface Program extends Output {
  readonly root: Group;
  readonly version: string;
  /** True for help and version as JSON. */
  readonly json: boolean;
  /** Gets the verb that the command line names, once it is parsed. */
  readonly perform: (call: Call) => Promise<void>;
}

const EVERY_VERB = 'Options of every verb:';

/** The parser without side effects. A mistake in the command line makes it throw Refused; help and version, a CommanderError. */
export function buildParser(program: Program): Command {
  const { root, version, json, writeOut, writeErr } = program;
  const nodes = new Map<Command, Verb | Group>();
  const top = new Command(root.name)
    .version(json ? terminalJson({ version }, 2) : version, '-V, --version', 'print the version')
    .addHelpOption(new CommanderOption('-h, --help', 'show help').helpGroup(EVERY_VERB))
    .enablePositionalOptions()
    // Suggestions are made by refusal.ts, which also knows the verbs of other groups.
    .showSuggestionAfterError(false)
    .configureOutput({ outputError: () => undefined, writeOut, writeErr })
    .addHelpText('beforeAll', ({ command, error }) => {
      // `offshoot deplyo --help` is a typo, not a wish for the help of the whole program.
      const stray = strayWord(command);
      if (stray !== undefined) throw new Refused('commander.unknownCommand', command, stray);
      if (error && json) throw new Refused('commander.help', command);
      return '';
    });
  top.configureHelp({
    subcommandTerm: (command) => `${command.name()} ${operandsOf(nodeOf(command))}`.trim(),
    ...(json && {
      formatHelp: (command: Command) =>
        `${terminalJson(helpDocument(nodeOf(command), pathOf(command)), 2)}\n`,
    }),
  });
  fill(top, root);
  return top;

  function nodeOf(command: Command): Verb | Group {
    return nodes.get(command) ?? root;
  }

  function fill(command: Command, node: Verb | Group): void {
    nodes.set(command, node);
    command.summary(node.summary).description(descriptionOf(node));
    command.helpCommand(false);
    command.exitOverride((error) => {
      if (error.exitCode === 0) throw error;
      const word = /'(.*?)'/.exec(error.message)?.[1];
      const find = node.kind === 'verb' && word !== undefined ? node.args[word]?.find : undefined;
      throw new Refused(error.code, command, word, find);
    });
    if (!json) command.addHelpText('after', examplesText(node));
    if (node.kind === 'verb') addVerb(command, node);
    else addMembers(command, node);
    command.usage(`${operandsOf(node)} [options]`.trim());
    for (const option of Object.values(shared)) command.addOption(optionOf(option).helpGroup(EVERY_VERB));
  }

  function addMembers(command: Command, { sections }: Group): void {
    for (const { title, members } of sections) {
      for (const member of members) fill(command.command(member.name).helpGroup(`${title}:`), member);
    }
  }

  function addVerb(command: Command, verb: Verb): void {
    for (const [name, argument] of Object.entries(verb.args)) {
      command.argument(argumentTerm(name, argument), argument.about);
    }
    const options = Object.entries(verb.options).map(([key, option]) => [key, optionOf(option)] as const);
    for (const [, option] of options) command.addOption(option);
    command.action(async () => {
      const given: Record<string, unknown> = command.optsWithGlobals();
      const names = Object.keys(verb.args);
      const found = {
        args: Object.fromEntries(names.map((name, index) => [name, command.processedArgs[index]])),
        options: Object.fromEntries(options.map(([key, option]) => [key, given[option.attributeName()]])),
      };
      const path = pathOf(command);
      await program.perform({ verb, path, found, flags: readAll(shared, given, `offshoot help ${path}`) });
    });
  }
}

/** Names of a command and of those above it, without the program: `dlq redrive`. */
export function pathOf(command: Command): string {
  const names: string[] = [];
  for (let at = command; at.parent; at = at.parent) names.unshift(at.name());
  return names.join(' ');
}

function optionOf({ flags, about, repeatable }: Option<unknown>): CommanderOption {
  const option = new CommanderOption(flags, about);
  return repeatable ? option.argParser<string[] | undefined>(collect) : option;
}

function collect(value: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), value];
}
