/** offshoot limits show: the limits of a namespace. */
import type { NamespaceLimits } from '#contract/functions/quota.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import type { Terminal } from '../../terminal/terminal.ts';

export async function show(context: Context): Promise<void> {
  const client = connect(context);
  const { namespace } = client.target;
  printLimits(context.terminal, namespace, await client.limits(namespace));
}

export function printLimits(terminal: Terminal, namespace: string, limits: NamespaceLimits): void {
  terminal.document({ namespace, limits });
  const { concurrency, rateLimit, weight, maxQueued } = limits;
  const rate = rateLimit && `${rateLimit.rate}/s${rateLimit.burst ? `, ${rateLimit.burst} at once` : ''}`;
  terminal.print(`concurrency  ${concurrency ?? 'not limited'}`);
  terminal.print(`rate         ${rate ?? 'not limited'}`);
  terminal.print(`weight       ${weight ?? 1}`);
  terminal.print(`max queued   ${maxQueued ?? 'as the platform allows'}`);
}
