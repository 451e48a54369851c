/**
 * W3C Trace Context (https://www.w3.org/TR/trace-context/): the two headers that carry a trace from process to process. No
 * schema library here: this file is part of every sandbox.
 */

export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** The caller's context, or undefined if the header is absent or malformed. The standard then says to start a new trace. */
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
/** Upper bound on the characters of a tracestate that are passed on; the standard asks for at least this number. */
const MAX_TRACESTATE = 512;
/** Length above which a member is dropped first, as the standard says. */
const LONG_MEMBER = 128;
/** Upper bound on the characters of a header that is parsed at all. */
const MAX_TRACESTATE_HEADER = 16_384;
const TRACESTATE_MEMBER =
  /^(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]$/;

/**
 * The part of a `tracestate` that is passed on. A malformed one is dropped whole, which leaves its traceparent valid. A long
 * one loses whole members from its end, which are the oldest.
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
