/**
 * offshoot trace ID: the time of an invocation by its parts, its usage, its end and its log. With the id of a trace, it draws all
 * invocations of that trace.
 */
import { nextWith } from '#contract/invocations/next.ts';
import type { AnyInvocationDetail, InvocationDetail, OpenInvocationDetail } from '#contract/api/api.ts';
import { isFailure, OUTCOMES } from '#contract/invocations/outcome.ts';
import { TRACE_ID, type WholeTrace } from '#contract/invocations/whole-trace.ts';
import type { Client } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { formatLog } from '../../show/log-lines.ts';
import { clock, defuse, defuseLines, milliseconds } from '../../terminal/text.ts';
import { attemptRows, invocationFacts } from '../../show/invocation-facts.ts';
import { isolationFacts } from '../../show/isolation-text.ts';
import { callbackText } from '../../show/callback-text.ts';
import { traceLines } from '../../show/trace-view.ts';
import { waterfall } from '../../show/waterfall.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

/** Upper bound on the columns of the text beside a bar. */
const MAX_OWN_TEXT = 80;

export async function trace(context: Context, { id, isolation }: Given<typeof verbs.trace>): Promise<void> {
  const { terminal } = context;
  const found = await find(connect(context), id);
  terminal.document(found);
  if ('spansCut' in found) return traceWhole(context, found);
  const detail = found;
  if (detail.state !== 'done') return traceOpen(context, detail);
  const good = !isFailure(detail.outcome);
  const { meaning, next } = OUTCOMES[detail.outcome];
  terminal.print(
    `${terminal.style('bold', `${detail.namespace}/${detail.name}`)} version ${detail.version}  ` +
      `${defuse(detail.method)} ${defuse(detail.path)}  ` +
      `${terminal.style(good ? 'green' : 'red', `${detail.outcome} ${detail.status}`)}  ${milliseconds(detail.duration)}`,
  );
  terminal.print();
  const lines = waterfall(detail.spans, terminal.width);
  for (const [index, line] of lines.entries()) {
    const span = detail.spans[index];
    const reason = index === 0 ? '' : acquireText(detail, span?.name) || ownText(span);
    terminal.print(`  ${line}${reason && `  ${terminal.style('dim', reason)}`}`);
  }
  terminal.print();
  for (const [label, value] of invocationFacts(detail)) terminal.print(`  ${label.padEnd(9)} ${value}`);
  if (isolation) {
    terminal.print();
    for (const [label, value] of isolationFacts(detail.isolation)) {
      terminal.print(`  ${label.padEnd(12)} ${value}`);
    }
  }
  if (!good) {
    terminal.print();
    terminal.print(`  ${terminal.style('red', detail.outcome)}: ${meaning}`);
    if (detail.message !== undefined) terminal.print(`  ${defuse(detail.message)}`);
    if (detail.report?.error) {
      for (const line of ownLines(stackOf(detail))) terminal.print(`    ${line}`);
    }
  }
  // The sandbox also logs the error that ended a run. It stands above already.
  const stack = stackOf(detail);
  const logs = detail.logs.filter(({ text }) => !stack.includes(text));
  if (logs.length > 0) terminal.print();
  for (const line of logs) terminal.print(`  ${formatLog(line, terminal)}`);
  if (good) return;
  const place = ownLines(stack).flatMap((line) => /\(?([^\s()/]\S*?:\d+:\d+)\)?$/.exec(line)?.[1] ?? [])[0];
  const remedy =
    place !== undefined && detail.outcome === 'error' ? `correct ${place}, then: offshoot deploy` : next;
  terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} ${nextWith(remedy, id)}`);
}

/** The invocation of that id, or else the trace. Both ids look the same. */
async function find(client: Client, id: string): Promise<AnyInvocationDetail | WholeTrace> {
  try {
    return await client.invocation(id);
  } catch (error) {
    if (!(error instanceof CliError && error.code === 'invocation_not_found' && TRACE_ID.test(id)))
      throw error;
    return await client.trace(id).catch((second: unknown) => {
      if (!(second instanceof CliError && second.code === 'trace_not_found')) throw second;
      throw new CliError('failed', `there is neither an invocation nor a trace ${id}`, {
        code: second.code,
        next: second.next,
      });
    });
  }
}

function traceWhole({ terminal }: Context, whole: WholeTrace): void {
  for (const line of traceLines(whole, terminal.width)) {
    terminal.print(line.failed === true ? terminal.style('red', line.text) : line.text);
  }
  const [first] = whole.invocations;
  if (first) terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} offshoot trace ${first.id}`);
}

/** Shows an invocation that has not ended. */
function traceOpen({ terminal }: Context, detail: OpenInvocationDetail): void {
  terminal.print(
    `${terminal.style('bold', `${detail.namespace}/${detail.name}`)} version ${detail.version}  ` +
      `${defuse(detail.method)} ${defuse(detail.path)}  ${terminal.style('yellow', detail.state)}`,
  );
  terminal.print();
  const rows: [string, string][] = [
    ['id', detail.id],
    ['trace', detail.traceId],
    ['started', clock(detail.startedAt)],
    ['lane', detail.lane],
    ...attemptRows(detail.attempts),
  ];
  if (detail.dueAt !== undefined) rows.push(['due', clock(detail.dueAt)]);
  if (detail.worker !== undefined) rows.push(['worker', detail.worker]);
  if (detail.callback) rows.push(['callback', callbackText(detail.callback)]);
  for (const [label, value] of rows) terminal.print(`  ${label.padEnd(9)} ${value}`);
  if (detail.logs.length > 0) terminal.print();
  for (const line of detail.logs) terminal.print(`  ${formatLog(line, terminal)}`);
  terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} offshoot cancel ${detail.id}`);
}

function stackOf({ report }: InvocationDetail): string {
  const error = report?.error;
  return error ? (error.stack ?? `${error.name}: ${error.message}`) : '';
}

/** A stack without the frames of Node and of the platform, which are of no help to the function's author. */
function ownLines(stack: string): string[] {
  return defuseLines(stack).filter((line) => !/^\s*at .*(?:\/opt\/offshoot\/|node:internal\/)/.test(line));
}

/** The way to the sandbox, and why no idle one served. It stands beside the span that it explains. */
function acquireText({ report }: InvocationDetail, span: string | undefined): string {
  if (span !== 'acquire' || report?.acquired === undefined) return '';
  const because = report.coldReason?.replaceAll('_', ' ');
  return because === undefined ? report.acquired : `${report.acquired}: ${because}`;
}

/** Notes on a span of the function's own: that it was left open, and the first exception that it has recorded. */
function ownText(span: InvocationDetail['spans'][number] | undefined): string {
  const thrown = span?.events?.find(({ name }) => name === 'exception')?.attributes;
  const parts = [
    span?.attributes['offshoot.unfinished'] === true ? 'unfinished' : '',
    thrown ? `${thrown['exception.type'] ?? 'Error'}: ${thrown['exception.message'] ?? ''}` : '',
  ];
  return defuse(parts.filter((part) => part !== '').join('; ')).slice(0, MAX_OWN_TEXT);
}
