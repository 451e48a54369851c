/** offshoot callbacks secret: the secret that receivers of callbacks know the platform by. */
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { clock } from '../../terminal/text.ts';

interface CallbacksOptions {
  readonly rotate?: boolean;
}

export async function callbacks(
  context: Context,
  [action = 'secret']: string[],
  options: CallbacksOptions,
): Promise<void> {
  if (action !== 'secret') {
    throw new CliError('usage', `callbacks has no action "${action}"; it has secret`, {
      next: 'offshoot callbacks secret',
    });
  }
  const { terminal } = context;
  const client = connect(context);
  const { namespace } = client.target;
  // Nothing is lost by it, so nobody is asked: the old one holds for another day.
  const shown = options.rotate
    ? await client.rotateCallbackSecret(namespace)
    : await client.callbackSecret(namespace);
  terminal.document(shown);
  // Alone on stdout, so that it can be piped to where receivers keep it.
  terminal.print(shown.current.secret);
  for (const { createdAt, until } of shown.previous)
    terminal.note(
      `the one of ${clock(createdAt)} holds as well until ${clock(until)}: give receivers the new one`,
    );
  if (shown.previous.length === 0)
    terminal.note('receivers verify with it by any library of https://www.standardwebhooks.com');
}
