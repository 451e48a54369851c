/**
 * W3C Trace Context (https://www.w3.org/TR/trace-context/): the two headers by which a trace goes from process to process. No
 * schema library here: this file is part of every sandbox.
 */

export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** The caller's context, or undefined when the header is absent or malformed (the standard then says: start anew). */
export function parseTraceparent(header: string | undefined | null): TraceContext | undefined {
  const match = header ? TRACEPARENT.exec(header) : null;
  if (!match) return undefined;
  const [, version, traceId = '', spanId = '', flags = '00', rest] = match;
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export function formatTraceparent(context: TraceContext): string {
  return `00-${context.traceId}-${context.spanId}-${context.sampled ? '01' : '00'}`;
}

const MAX_TRACESTATE_MEMBERS = 32;
/** Characters of a tracestate that are passed on; the standard asks for at least so many. */
const MAX_TRACESTATE = 512;
/** Members longer than this go first, as the standard has it. */
const LONG_MEMBER = 128;
/** Longer ones are not even looked at. */
const MAX_TRACESTATE_HEADER = 16_384;
const TRACESTATE_MEMBER =
  /^(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]$/;

/**
 * What is passed on of a `tracestate`: one that is not of the form is dropped whole, which says nothing of its traceparent; of one
 * that is too long, whole members are, those from its end that have been there longest.
 */
export function parseTracestate(header: string | undefined | null): string | undefined {
  if (!header || header.length > MAX_TRACESTATE_HEADER) return undefined;
  let members = header
    .split(',')
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ''))
    .filter((member) => member !== '');
  if (members.length > MAX_TRACESTATE_MEMBERS || !members.every((member) => TRACESTATE_MEMBER.test(member)))
    return undefined;
  if (members.join(',').length > MAX_TRACESTATE)
    members = members.filter(({ length }) => length <= LONG_MEMBER);
  while (members.join(',').length > MAX_TRACESTATE) members.pop();
  return members.length > 0 ? members.join(',') : undefined;
}
