/** offshoot replay ID: queues the input of an invocation again, for the active or another version, or another input. */
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { checkEvent, readData } from '../functions/invoke.ts';

interface ReplayOptions {
  readonly data?: string;
  readonly versionNumber?: string;
}

export async function replay(context: Context, [id = '']: string[], options: ReplayOptions): Promise<void> {
  const { terminal } = context;
  const data = options.data === undefined ? undefined : await readData(options.data);
  if (data) checkEvent('NAME', data);
  const version = options.versionNumber === undefined ? undefined : Number(options.versionNumber);
  if (version !== undefined && !(Number.isInteger(version) && version > 0)) {
    throw new CliError('usage', `"${options.versionNumber}" is not the number of a version`, {
      next: 'offshoot describe NAME',
    });
  }
  const accepted = await connect(context).replay(id, {
    ...(version !== undefined && { version }),
    ...(data && { input: JSON.parse(data.toString()) as unknown }),
  });
  terminal.document(accepted);
  terminal.print(accepted.id);
  terminal.note(`${accepted.state}; ${terminal.noteStyle('cyan', 'next:')} offshoot trace ${accepted.id}`);
}
