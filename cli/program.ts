/** Runs a command line: parses it, calls the handler of its verb, and turns errors into what people and scripts read. */
import { CommanderError, type Command } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { offshoot } from './commands/tree.ts';
import { CliError, EXIT_CODES, messageOf } from './terminal/errors.ts';
import { Terminal } from './terminal/terminal.ts';
import { buildParser, type Call, type Output } from './verbs/parser.ts';
import { errorOf, Refused } from './verbs/refusal.ts';

/** Runs the command line and answers the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  const terminal = new Terminal(argv.includes('--json'));
  let exitCode: number = EXIT_CODES.ok.code;
  const parser = parserOf(terminal.json, async ({ verb, path, found, flags }) => {
    const act = verb.prepare(found, `offshoot help ${path}`);
    const code = await act({ terminal, flags, help: (words) => showHelp(parser, words) });
    if (typeof code === 'number') exitCode = code;
  });
  try {
    await parser.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Help and version count as errors there.
    if (error instanceof CommanderError) return EXIT_CODES.ok.code;
    // `offshoot dlq` alone has shown its help, except to a program.
    if (error instanceof Refused && error.code === 'commander.help' && !terminal.json)
      return EXIT_CODES.usage.code;
    const shown = error instanceof Refused ? await errorOf(error, argv) : error;
    const known = shown instanceof CliError ? shown : bug(shown);
    terminal.error(known);
    return known.exitCode;
  }
}

/** The parser of the whole program. `perform` gets the verb that a command line names; help goes to `output`. */
export function parserOf(
  json: boolean,
  perform: (call: Call) => Promise<void>,
  output: Output = { writeOut: toStdout, writeErr: toStderr },
): Command {
  return buildParser({ root: offshoot, version: packageJson.version, json, perform, ...output });
}

function toStdout(text: string): void {
  process.stdout.write(text);
}

function toStderr(text: string): void {
  process.stderr.write(text);
}

/** Shows the help of a verb, named by the words of its path. Throws Refused for a word that is no verb. */
function showHelp(parser: Command, words: readonly string[]): void {
  let command = parser;
  for (const word of words) {
    const below = command.commands.find((one) => one.name() === word);
    if (!below) throw new Refused('commander.unknownCommand', command, word);
    command = below;
  }
  command.outputHelp();
}

function bug(error: unknown): CliError {
  const stack = error instanceof Error && error.stack ? error.stack.split('\n').slice(1) : [];
  return new CliError('failed', `offshoot itself failed: ${messageOf(error)}`, {
    code: 'internal',
    lines: stack.map((line) => line.trim()),
    next: 'report this with the lines above; meanwhile see what the host lacks: offshoot doctor',
  });
}
