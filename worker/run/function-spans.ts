/**
 * Collects the function's own spans of one run from its sandbox, which is hostile: they are capped, and checked before they are
 * kept.
 */
import { FunctionSpan } from '#contract/invocations/invocation.ts';
import { readSpanBegun } from '#contract/wire/channel.ts';

/**
 * Upper bounds on the kept spans of one run, in number and bytes. They travel in the record, which stays in Redis as long as the
 * invocation is known.
 */
export const MAX_RUN_SPANS = 128;
export const MAX_RUN_SPAN_BYTES = 48 * 1024;
/** Upper bound on a span that is parsed. */
const MAX_SPAN_BYTES = 8 * 1024;
const ID_BYTES = 8;
/** Lower bound on the bytes that an end adds to its span: a duration, and a status as far as it fits. */
const END_BYTES = 128;
const SHORT_ERROR = 64;

const BegunSpan = FunctionSpan.omit({ duration: true, unfinished: true });

/** A run's spans at its end, the earliest first. */
export interface TakenSpans {
  readonly spans: FunctionSpan[];
  /** Number of spans beyond the limits, or invalid. */
  readonly dropped: number;
}

export class FunctionSpans {
  /** Spans in the order of their begin; the JSON of their facts until they end or are taken. */
  readonly #known = new Map<string, Buffer | FunctionSpan>();
  readonly #taken = new Set<string>();
  #bytes = 0;
  #dropped = 0;

  /** Keeps a begun span, SPAN_BEGUN of the channel. Returns false when it is dropped. */
  begin(payload: Buffer): boolean {
    const begun = readSpanBegun(payload);
    if (!begun || begun.facts.length === 0 || begun.facts.length > MAX_SPAN_BYTES) return this.drop();
    const isNew = !this.#known.has(begun.span) && !this.#taken.has(begun.span);
    const bytes = payload.length + END_BYTES;
    if (!isNew || !this.#fits(bytes)) return this.drop();
    this.#bytes += bytes;
    // A copy, because the buffer behind this view may be much larger.
    this.#known.set(begun.span, Buffer.from(begun.facts));
    return true;
  }

  /** Keeps a span as JSON that has ended, or was open at the end of its run. Returns false when it is dropped. */
  end(payload: Buffer): boolean {
    const span = payload.length > MAX_SPAN_BYTES ? undefined : FunctionSpan.safeParse(json(payload)).data;
    if (!span) return this.drop();
    // The report has this span as unfinished already.
    if (this.#taken.has(span.spanId)) return false;
    const begun = this.#known.get(span.spanId);
    const before = Buffer.isBuffer(begun) ? ID_BYTES + begun.length + END_BYTES : 0;
    if ((begun && before === 0) || (!begun && !this.#fits(payload.length))) return this.drop();
    if (begun && this.#bytes - before + payload.length > MAX_RUN_SPAN_BYTES) {
      this.#known.set(span.spanId, withoutParts(span));
      return true;
    }
    this.#bytes += payload.length - before;
    this.#known.set(span.spanId, span);
    return true;
  }

  /** Counts dropped spans: one, or the number that the sandbox reports. Always returns false. */
  drop(count = 1): false {
    this.#dropped += count;
    return false;
  }

  /** Takes all spans, each only once. Spans that have not ended get a duration until `now`, in Unix time. */
  take(now = Date.now()): TakenSpans {
    const spans: FunctionSpan[] = [];
    for (const [id, known] of this.#known) {
      const span = Buffer.isBuffer(known) ? unfinished(id, known, now) : known;
      if (span) spans.push(span);
      else this.drop();
      this.#taken.add(id);
    }
    const dropped = this.#dropped;
    this.#known.clear();
    this.#dropped = 0;
    return { spans, dropped };
  }

  #fits(bytes: number): boolean {
    return this.#known.size + this.#taken.size < MAX_RUN_SPANS && this.#bytes + bytes <= MAX_RUN_SPAN_BYTES;
  }
}

function unfinished(id: string, begun: Buffer, now: number): FunctionSpan | undefined {
  const span = BegunSpan.safeParse(json(begun)).data;
  if (span?.spanId !== id) return undefined;
  return { ...span, duration: Math.max(0, now - span.startedAt), unfinished: true };
}

/** Drops the parts of a span for which there is no room, but keeps the span: others may name it as their parent. */
function withoutParts({ attributes, events, links, dropped, error, ...span }: FunctionSpan): FunctionSpan {
  const counts = {
    attributes: (dropped?.attributes ?? 0) + Object.keys(attributes ?? {}).length,
    events: (dropped?.events ?? 0) + (events?.length ?? 0),
    links: (dropped?.links ?? 0) + (links?.length ?? 0),
  };
  const lost = Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  return {
    ...span,
    ...(error !== undefined && { error: error.slice(0, SHORT_ERROR) }),
    ...(Object.keys(lost).length > 0 && { dropped: lost }),
  };
}

function json(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}
