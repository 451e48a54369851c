/** offshoot callbacks secret and rotate: the secret by which receivers of callbacks know the platform. */
import type { CallbackSecrets } from '#contract/invocations/callback.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { clock } from '../../terminal/text.ts';

export async function secret(context: Context): Promise<void> {
  const client = connect(context);
  show(context, await client.callbackSecret(client.target.namespace));
}

/** Nothing is lost by it, so it does not ask: the old secret holds for another day. */
export async function rotate(context: Context): Promise<void> {
  const client = connect(context);
  show(context, await client.rotateCallbackSecret(client.target.namespace));
}

function show({ terminal }: Context, { current, previous }: CallbackSecrets): void {
  terminal.document({ current, previous });
  // Alone on stdout, so that a pipe can carry it to the receivers.
  terminal.print(current.secret);
  for (const { createdAt, until } of previous)
    terminal.note(
      `the one of ${clock(createdAt)} holds as well until ${clock(until)}: give receivers the new one`,
    );
  if (previous.length === 0)
    terminal.note('receivers verify with it by any library of https://www.standardwebhooks.com');
}
