/** offshoot dlq show ID: a dead letter, as `offshoot trace` shows any invocation. */
import type { Context } from '../../terminal/context.ts';
import type { Given } from '../../verbs/definition.ts';
import { trace } from '../invocations/trace.ts';
import type * as verbs from './definitions.ts';

export async function show(context: Context, { id }: Given<typeof verbs.show>): Promise<void> {
  await trace(context, { id, isolation: false });
}
