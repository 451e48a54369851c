/** offshoot batches: what has become of many items that were sent together. */
import type { Batch } from '#contract/invocations/batch.ts';
import type { Client } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { printBody } from '../../show/body.ts';
import { table } from '../../terminal/terminal.ts';
import { ago, milliseconds } from '../../terminal/text.ts';

interface BatchesOptions {
  readonly completed?: boolean;
  readonly follow?: boolean;
}

export async function batches(context: Context, args: string[], options: BatchesOptions): Promise<void> {
  const [action = 'list', id] = args;
  const client = connect(context);
  switch (action) {
    case 'list':
      return await list(context, client);
    case 'show':
      return show(context, await client.batch(needed(id, action)));
    case 'results': {
      const order = options.completed === true ? 'completed' : 'input';
      const wait = options.follow === true;
      const response = await client.batchResults(needed(id, action), { order, wait });
      return await printBody(response, context.terminal, `offshoot batches results ${needed(id, action)}`);
    }
    case 'seal':
      return show(context, await client.sealBatch(needed(id, action)));
    case 'cancel':
      return show(context, await client.cancelBatch(needed(id, action)));
    default:
      throw new CliError(
        'usage',
        `batches has no action "${action}"; it has list, show, results, seal and cancel`,
        { next: 'offshoot help batches' },
      );
  }
}

async function list({ terminal }: Context, client: Client): Promise<void> {
  const found = await client.batches(client.target.namespace);
  terminal.document({ batches: found });
  if (found.length === 0) {
    terminal.print('no batches');
    terminal.note(`${terminal.noteStyle('cyan', 'next:')} offshoot batch FILE --function NAME`);
    return;
  }
  const rows = found.map((one) => [
    one.id,
    `${one.namespace}/${one.name}`,
    one.state,
    `${one.succeeded + one.failed} of ${one.items}`,
    String(one.failed),
    ago(one.createdAt),
  ]);
  const [head = '', ...lines] = table(['BATCH', 'FUNCTION', 'STATE', 'ITEMS', 'FAILED', 'WHEN'], rows);
  terminal.print(terminal.style('bold', head));
  for (const line of lines) terminal.print(line);
  terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} offshoot batches show ${found[0]?.id}`);
}

function show({ terminal }: Context, one: Batch): void {
  terminal.document(one);
  const { id, namespace, name, version, state, items, succeeded, failed, groups, groupsDone } = one;
  terminal.print(`${terminal.style('bold', id)}  ${namespace}/${name} version ${version}`);
  terminal.print(`state    ${state}`);
  terminal.print(`items    ${items}: ${succeeded} done, ${failed} failed`);
  terminal.print(`groups   ${groups}: ${groupsDone} ended`);
  if (one.endedAt !== undefined) terminal.print(`took     ${milliseconds(one.endedAt - one.createdAt)}`);
  const next = state === 'open' ? `seal ${id}` : failed > 0 ? undefined : `results ${id}`;
  terminal.note(
    `${terminal.noteStyle('cyan', 'next:')} offshoot ${next === undefined ? 'dlq list' : `batches ${next}`}`,
  );
}

function needed(id: string | undefined, action: string): string {
  if (id !== undefined) return id;
  throw new CliError('usage', `batches ${action} needs the id of a batch`, { next: 'offshoot batches list' });
}
