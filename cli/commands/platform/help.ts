/** offshoot help [VERB | exit-codes]. */
import type { Command } from 'commander';
import { CliError, EXIT_CODES } from '../../terminal/errors.ts';
import { nearestName } from '#contract/functions/names.ts';
import type { Terminal } from '../../terminal/terminal.ts';

export function help(program: Command, topic: string | undefined, terminal: Terminal): void {
  if (topic === undefined) {
    program.outputHelp();
    return;
  }
  if (topic === 'exit-codes') {
    terminal.document(Object.values(EXIT_CODES));
    for (const { code, meaning } of Object.values(EXIT_CODES)) {
      terminal.print(`${String(code).padStart(3)}  ${meaning}`);
    }
    return;
  }
  const verbs = program.commands.map((command) => command.name()).filter((name) => name !== 'help');
  const command = program.commands.find((candidate) => candidate.name() === topic);
  if (command) {
    command.outputHelp();
    return;
  }
  const near = nearestName(topic, [...verbs, 'exit-codes']);
  throw new CliError(
    'usage',
    `there is no help on "${topic}"${near === undefined ? '' : `; did you mean "${near}"?`}`,
    {
      next: near === undefined ? 'offshoot help' : `offshoot help ${near}`,
    },
  );
}
