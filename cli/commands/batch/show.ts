/** offshoot batch show ID, and seal and cancel, which show the batch that they have changed. */
import type { Batch } from '#contract/invocations/batch.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { milliseconds } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function show(context: Context, { id }: Given<typeof verbs.show>): Promise<void> {
  print(context, await connect(context).batch(id));
}

export async function seal(context: Context, { id }: Given<typeof verbs.seal>): Promise<void> {
  print(context, await connect(context).sealBatch(id));
}

export async function cancel(context: Context, { id }: Given<typeof verbs.cancel>): Promise<void> {
  print(context, await connect(context).cancelBatch(id));
}

function print({ terminal }: Context, one: Batch): void {
  terminal.document(one);
  const { id, namespace, name, version, state, items, succeeded, failed, groups, groupsDone } = one;
  terminal.print(`${terminal.style('bold', id)}  ${namespace}/${name} version ${version}`);
  terminal.print(`state    ${state}`);
  terminal.print(`items    ${items}: ${succeeded} done, ${failed} failed`);
  terminal.print(`groups   ${groups}: ${groupsDone} ended`);
  if (one.endedAt !== undefined) terminal.print(`took     ${milliseconds(one.endedAt - one.createdAt)}`);
  terminal.note(`${terminal.noteStyle('cyan', 'next:')} ${nextOf(one)}`);
}

function nextOf({ id, state, failed }: Batch): string {
  if (state === 'open') return `offshoot batch seal ${id}`;
  return failed > 0 ? 'offshoot dlq list' : `offshoot batch results ${id}`;
}
