/** offshoot trace ID: where the time of an invocation went, what it used, how it ended, and what it printed. */
import type { InvocationDetail } from '#contract/api.ts';
import { OUTCOMES } from '#contract/outcome.ts';
import { connect } from '../connect.ts';
import type { Context } from '../context.ts';
import { formatLog } from '../log-lines.ts';
import { bytes, clock, defuse, defuseLines, milliseconds } from '../text.ts';
import { waterfall } from '../waterfall.ts';

export async function trace(context: Context, [id = '']: string[]): Promise<void> {
  const { terminal } = context;
  const detail = await connect(context).invocation(id);
  terminal.document(detail);
  const good = detail.outcome === 'ok';
  const { meaning, next } = OUTCOMES[detail.outcome];
  terminal.print(
    `${terminal.style('bold', `${detail.namespace}/${detail.name}`)} version ${detail.version}  ` +
      `${defuse(detail.method)} ${defuse(detail.path)}  ` +
      `${terminal.style(good ? 'green' : 'red', `${detail.outcome} ${detail.status}`)}  ${milliseconds(detail.duration)}`,
  );
  terminal.print();
  const lines = waterfall(detail.spans, terminal.width);
  for (const [index, line] of lines.entries()) {
    const reason = index === 0 ? '' : acquireText(detail, detail.spans[index]?.name);
    terminal.print(`  ${line}${reason && `  ${terminal.style('dim', reason)}`}`);
  }
  terminal.print();
  for (const [label, value] of facts(detail)) terminal.print(`  ${label.padEnd(9)} ${value}`);
  if (!good) {
    terminal.print();
    terminal.print(`  ${terminal.style('red', detail.outcome)}: ${meaning}`);
    if (detail.message !== undefined) terminal.print(`  ${defuse(detail.message)}`);
    const error = detail.report?.error;
    if (error) {
      const text = error.stack ?? `${error.name}: ${error.message}`;
      for (const line of defuseLines(text)) terminal.print(`    ${line}`);
    }
  }
  if (detail.logs.length > 0) terminal.print();
  for (const line of detail.logs) terminal.print(`  ${formatLog(line, terminal)}`);
  if (!good) terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} ${next.replace(/\bID\b/, id)}`);
}

/** How the sandbox was had, and why not from the idle ones; said beside the span that it explains. */
function acquireText({ report }: InvocationDetail, span: string | undefined): string {
  if (span !== 'acquire' || report?.acquired === undefined) return '';
  const because = report.coldReason?.replaceAll('_', ' ');
  return because === undefined ? report.acquired : `${report.acquired}: ${because}`;
}

function facts(detail: InvocationDetail): [string, string][] {
  const { report } = detail;
  const rows: [string, string][] = [
    ['id', detail.id],
    [
      'trace',
      detail.parentSpanId === undefined ? detail.traceId : `${detail.traceId} (continued from the caller)`,
    ],
    ['started', clock(detail.startedAt)],
    ['lane', detail.lane],
    ['bytes', `${bytes(detail.requestBytes)} in, ${bytes(detail.responseBytes)} out`],
  ];
  if (report?.usage) {
    const { cpu, memoryPeak } = report.usage;
    rows.push(['cpu', milliseconds(cpu)], ['memory', `${bytes(memoryPeak)} at its peak`]);
  }
  if (report?.exitCause !== undefined) rows.push(['ended by', defuse(report.exitCause)]);
  if (report) rows.push(['worker', [report.worker, report.sandbox].filter(Boolean).join(', sandbox ')]);
  if (report && report.logBytesDropped > 0) {
    rows.push(['logs', `${bytes(report.logBytes)} kept, ${bytes(report.logBytesDropped)} dropped`]);
  }
  return rows;
}
