/** Reads a sandbox's report of a failure. A tenant wrote it, so the valid parts are kept, and long ones are cut. */
import type { FailedReport } from '#contract/wire/channel.ts';
import type { FunctionError } from '#contract/invocations/invocation.ts';
import { isToldFailure, type ToldFailure } from '#contract/invocations/outcome.ts';

/** Upper bound on the characters of an error's message, and of its stack. */
const MAX_ERROR_TEXT = 16 * 1024;

export function readFailure(payload: Buffer): { outcome: ToldFailure; error: FunctionError } {
  let report: Partial<FailedReport> = {};
  try {
    report = JSON.parse(payload.toString('utf8')) as Partial<FailedReport>;
  } catch {
    // Falls through to the text below.
  }
  return {
    outcome: isToldFailure(report?.outcome) ? report.outcome : 'error',
    error: readError(report?.error),
  };
}

export function readError(value: unknown): FunctionError {
  const given = (typeof value === 'object' && value !== null ? value : {}) as Partial<
    Record<keyof FunctionError, unknown>
  >;
  const text = (part: unknown, otherwise: string): string =>
    typeof part === 'string' ? part.slice(0, MAX_ERROR_TEXT) : otherwise;
  return {
    name: text(given.name, 'Error'),
    message: text(given.message, 'the function failed without saying why'),
    ...(typeof given.stack === 'string' && { stack: given.stack.slice(0, MAX_ERROR_TEXT) }),
  };
}
