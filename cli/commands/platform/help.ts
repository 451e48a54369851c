/** offshoot help [VERB | exit-codes]. */
import type { Context } from '../../terminal/context.ts';
import { EXIT_CODES } from '../../terminal/errors.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function help(context: Context, { topic }: Given<typeof verbs.help>): Promise<void> {
  const { terminal } = context;
  if (topic.join(' ') !== 'exit-codes') return context.help(topic);
  terminal.document(Object.values(EXIT_CODES));
  for (const { code, meaning } of Object.values(EXIT_CODES)) {
    terminal.print(`${String(code).padStart(3)}  ${meaning}`);
  }
}
