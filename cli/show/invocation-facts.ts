/** Facts of an invocation as rows of a label and a value, for `offshoot trace`. */
import type { InvocationDetail } from '#contract/api/api.ts';
import { nextWith } from '#contract/invocations/next.ts';
import { cancelledText } from '#contract/invocations/canceller.ts';
import { DEAD } from '#contract/invocations/dead-letter.ts';
import { bytes, clock, defuse, milliseconds } from '../terminal/text.ts';
import { callbackText } from './callback-text.ts';
import { isolationText } from './isolation-text.ts';

/** One line for each try of the queued lane. */
export function attemptRows(attempts: InvocationDetail['attempts']): [string, string][] {
  return (attempts ?? []).map(({ startedAt, endedAt, outcome = 'runs', status, message, worker }, index) => {
    const took = endedAt === undefined ? '' : ` in ${milliseconds(endedAt - startedAt)}`;
    const said = message === undefined ? '' : `: ${defuse(message)}`;
    const answer = status === undefined ? '' : ` ${status}`;
    return [`try ${index + 1}`, `${clock(startedAt)}  ${outcome}${answer}${took} on ${worker}${said}`];
  });
}

/** Facts of one that has ended. */
export function invocationFacts(detail: InvocationDetail): [string, string][] {
  const { report } = detail;
  const rows: [string, string][] = [
    ['id', detail.id],
    [
      'trace',
      detail.parentSpanId === undefined ? detail.traceId : `${detail.traceId} (continued from the caller)`,
    ],
    ['started', clock(detail.startedAt)],
    ['lane', detail.lane],
    ...attemptRows(detail.attempts),
    ['bytes', `${bytes(detail.requestBytes)} in, ${bytes(detail.responseBytes)} out`],
  ];
  if (detail.cancelledBy) rows.push(['cancelled', cancelledText(detail.cancelledBy)]);
  if (detail.dead !== undefined) {
    const { because, change } = DEAD[detail.dead];
    rows.push(['dead', `${because}; ${nextWith(change, detail.id)}`]);
  }
  if (detail.callback) rows.push(['callback', callbackText(detail.callback)]);
  if (detail.replayOf !== undefined) rows.push(['replay of', detail.replayOf]);
  if (report?.usage) {
    const { cpu, memoryPeak } = report.usage;
    // Below zero where the cgroup was gone before it could be read.
    if (cpu >= 0) rows.push(['cpu', milliseconds(cpu)]);
    if (memoryPeak >= 0) rows.push(['memory', `${bytes(memoryPeak)} at its peak`]);
  }
  if (report?.pidsRefused !== undefined) {
    rows.push(['pids', `${report.pidsRefused} processes or threads were refused ("pids" in offshoot.json)`]);
  }
  if (report?.exitCause !== undefined) rows.push(['ended by', defuse(report.exitCause)]);
  if (report?.refusedCalls) rows.push(['refused', report.refusedCalls.map(defuse).join(', ')]);
  for (const { to, count } of report?.denied ?? []) rows.push(['denied', `${defuse(to)}, ${count} time(s)`]);
  if (report) rows.push(['worker', [report.worker, report.sandbox].filter(Boolean).join(', sandbox ')]);
  if (report?.spansDropped !== undefined)
    rows.push(['spans', `${report.spansDropped} more of its own were not kept`]);
  if (detail.isolation) rows.push(['isolation', isolationText(detail.isolation)]);
  if (report && report.logBytesDropped > 0) {
    const lines = report.logLinesDropped === undefined ? '' : ` (${report.logLinesDropped} whole lines)`;
    rows.push(['logs', `${bytes(report.logBytes)} kept, ${bytes(report.logBytesDropped)} cut${lines}`]);
  }
  return rows;
}
