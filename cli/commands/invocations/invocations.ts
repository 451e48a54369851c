/** offshoot invocations [NAME]: the latest invocations, those that have not ended among them. */
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { parseFunctionName } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { table } from '../../terminal/terminal.ts';
import { ago, milliseconds } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function invocations(
  context: Context,
  { name: wanted = '', state, outcome, trace, limit }: Given<typeof verbs.invocations>,
): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  const found = await client.invocations({
    namespace,
    ...(name !== '' && { name }),
    ...(state !== undefined && { state }),
    ...(outcome !== undefined && { outcome }),
    ...(trace !== undefined && { trace }),
    ...(limit !== undefined && { limit: String(limit) }),
  });
  terminal.document({ invocations: found });
  const rows = found.map((one) => [
    one.id,
    `${one.namespace}/${one.name}`,
    one.lane,
    endOf(one),
    one.state === 'done' ? milliseconds(one.duration) : '',
    ago(one.startedAt),
  ]);
  const [head = '', ...lines] = table(['INVOCATION', 'FUNCTION', 'LANE', 'OUTCOME', 'TIME', 'WHEN'], rows);
  terminal.print(terminal.style('bold', head));
  for (const line of lines) terminal.print(line);
  const latest = found[0];
  if (latest) terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} offshoot trace ${latest.id}`);
}

function endOf(one: AnyInvocation): string {
  if (one.state !== 'done') return one.state;
  const { outcome, status, dead, callback } = one;
  return [
    `${outcome} ${status}`,
    ...(dead === undefined ? [] : ['dead letter']),
    ...(callback ? [`callback ${callback.state}`] : []),
  ].join(', ');
}
