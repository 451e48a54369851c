/** offshoot logs NAME: what a function has printed; with -f also what it prints from now on. */
import { Outcome } from '#contract/invocations/invocation.ts';
import { parseFunctionName } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { interruptSignal } from '../../terminal/interrupt.ts';
import {
  followLogs,
  formatLog,
  invocationLines,
  logFilter,
  parseSince,
  recentLogs,
} from '../../show/log-lines.ts';
import { endedIn, followEndedIn } from '../../show/log-outcome.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

/** Age of the oldest line that `--follow` begins with, so that a user sees the latest events too. */
const BACKLOG_MS = 10 * 60_000;

export async function logs(context: Context, options: Given<typeof verbs.logs>): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const { namespace, name } = parseFunctionName(options.name, client.target.namespace);
  const wants = logFilter(options);
  const outcome = options.outcome === undefined ? undefined : parseOutcome(options.outcome);
  const since = options.since === undefined ? undefined : parseSince(options.since);
  if (options.follow) {
    const start = since ?? Math.max(0, Date.now() - BACKLOG_MS);
    const onBreak = (message: string): void =>
      terminal.note(`connection lost (${message}); connecting again`);
    const all = followLogs(client, namespace, name, interruptSignal(), start, onBreak);
    const onGivenUp = (count: number): void =>
      terminal.note(`${count} lines are left out: too many wait for the end of their invocation`);
    const lines = outcome === undefined ? all : followEndedIn(client, outcome, all, onGivenUp);
    for await (const line of lines) {
      if (!wants(line)) continue;
      terminal.print(formatLog(line, terminal));
      terminal.documentLine(line);
    }
    return;
  }
  const own =
    options.invocation === undefined
      ? undefined
      : await invocationLines(client, namespace, name, options.invocation);
  const { logs: found, olderLines = 0 } = own
    ? { logs: own.filter(({ time }) => time >= (since ?? 0)) }
    : await recentLogs(client, namespace, name, since);
  if (olderLines > 0)
    terminal.note(
      `${olderLines} older lines are left out; of one invocation: offshoot logs ${options.name} -i ID`,
    );
  const lines = (
    outcome === undefined ? found : await endedIn(client, { namespace, name }, outcome, found)
  ).filter(wants);
  terminal.document({ namespace, name, logs: lines });
  for (const line of lines) terminal.print(formatLog(line, terminal));
  if (lines.length > 0) return;
  const what = found.length === 0 ? 'nothing has been printed' : `none of ${found.length} lines fits`;
  terminal.note(`${what}\n${terminal.noteStyle('cyan', 'next:')} offshoot logs ${options.name} -f`);
}

function parseOutcome(text: string): Outcome {
  const { success, data } = Outcome.safeParse(text);
  if (success) return data;
  throw new CliError('usage', `there is no outcome "${text}"; there are ${Outcome.options.join(', ')}`, {
    next: 'offshoot logs NAME --outcome error',
  });
}
