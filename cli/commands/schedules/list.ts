/** offshoot schedules list: the functions that run by themselves, with their next times. */
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { table } from '../../terminal/terminal.ts';
import { clock } from '../../terminal/text.ts';

const SHOWN_TIMES = 3;

export async function list(context: Context): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const schedules = await client.schedules(client.target.namespace);
  terminal.document({ schedules });
  if (schedules.length === 0) {
    terminal.print('no schedules');
    terminal.note(
      `${terminal.noteStyle('cyan', 'next:')} add "schedule": { "cron": "0 9 * * 1-5" } to offshoot.json, then: offshoot deploy`,
    );
    return;
  }
  const rows = schedules.map((one) => [
    `${one.namespace}/${one.name}`,
    one.cron,
    one.timezone,
    one.next.slice(0, SHOWN_TIMES).map(clock).join(', '),
  ]);
  const [head = '', ...lines] = table(['FUNCTION', 'CRON', 'TIME ZONE', 'NEXT'], rows);
  terminal.print(terminal.style('bold', head));
  for (const line of lines) terminal.print(line);
}
