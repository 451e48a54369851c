/** offshoot logs NAME: what a function has printed; with -f also what it prints from now on. */
import { parseFunctionName } from '../client.ts';
import { connect } from '../connect.ts';
import type { Context } from '../context.ts';
import { interruptSignal } from '../interrupt.ts';
import { followLogs, formatLog, logFilter, recentLogs } from '../log-lines.ts';

/** Who follows wants to see as well what has just happened. */
const BACKLOG_MS = 10 * 60_000;

interface LogsOptions {
  readonly follow?: boolean;
  readonly invocation?: string;
  readonly level?: string;
  readonly grep?: string;
}

export async function logs(context: Context, [wanted = '']: string[], options: LogsOptions): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  const wants = logFilter(options);
  if (options.follow) {
    const since = Math.max(0, Date.now() - BACKLOG_MS);
    const onBreak = (message: string): void =>
      terminal.note(`connection lost (${message}); connecting again`);
    for await (const line of followLogs(client, namespace, name, interruptSignal(), since, onBreak)) {
      if (!wants(line)) continue;
      terminal.print(formatLog(line, terminal));
      terminal.documentLine(line);
    }
    return;
  }
  const lines = (await recentLogs(client, namespace, name)).filter(wants);
  terminal.document({ namespace, name, logs: lines });
  for (const line of lines) terminal.print(formatLog(line, terminal));
  if (lines.length === 0) {
    terminal.note(
      `nothing has been printed\n${terminal.noteStyle('cyan', 'next:')} offshoot logs ${wanted} -f`,
    );
  }
}
