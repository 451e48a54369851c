/** Asks before something is lost. */
import type { Context } from './context.ts';
import { CliError } from './errors.ts';

/** Returns when the answer is yes; throws otherwise, and where there is no terminal to ask at. */
export async function confirm(
  { terminal }: Context,
  ask: { question: string; yes: boolean; command: string },
): Promise<void> {
  if (ask.yes) return;
  if (!terminal.interactive) {
    throw new CliError('usage', `${ask.question} There is no terminal to answer at`, {
      code: 'not_confirmed',
      next: ask.command,
    });
  }
  const prompts = await import('@clack/prompts');
  const answer = await prompts.confirm({
    message: ask.question,
    initialValue: false,
    output: process.stderr,
  });
  if (answer !== true) {
    throw new CliError('interrupted', 'nothing was removed', { code: 'not_confirmed', next: ask.command });
  }
}
