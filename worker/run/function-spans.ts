/** The spans of a function's own during one run, as its sandbox tells them: capped, and checked before they are kept. */
import { FunctionSpan } from '#contract/invocations/invocation.ts';

/** What is kept of one run. They travel in the record, which Redis keeps for as long as the invocation is known. */
export const MAX_RUN_SPANS = 128;
export const MAX_RUN_SPAN_BYTES = 48 * 1024;
/** Longer ones are not parsed. */
const MAX_SPAN_BYTES = 8 * 1024;
const ID_BYTES = 8;
/** What the end adds to the beginning at least: a duration, and of a status what fits here. */
const END_BYTES = 128;
const SHORT_ERROR = 64;

const BegunSpan = FunctionSpan.omit({ duration: true, unfinished: true });

/** What is known of a run's spans at its end, the earliest first. */
export interface TakenSpans {
  readonly spans: FunctionSpan[];
  /** Those that were too many, too large, or none. */
  readonly dropped: number;
}

export class FunctionSpans {
  /** In the order of their beginning; unread until they end, or are taken. */
  readonly #known = new Map<string, Buffer | FunctionSpan>();
  readonly #taken = new Set<string>();
  #bytes = 0;
  #dropped = 0;

  /** 8 bytes of an id, JSON of what is known. False when it is not kept. */
  begin(payload: Buffer): boolean {
    const id = payload.toString('hex', 0, ID_BYTES);
    const isNew = !this.#known.has(id) && !this.#taken.has(id);
    const bytes = payload.length + END_BYTES;
    if (
      payload.length <= ID_BYTES ||
      payload.length > ID_BYTES + MAX_SPAN_BYTES ||
      !isNew ||
      !this.#fits(bytes)
    )
      return this.drop();
    this.#bytes += bytes;
    // A copy: what it is a view of may be much larger.
    this.#known.set(id, Buffer.from(payload));
    return true;
  }

  /** JSON of a span that has ended, or had not when its run had. False when it is not kept. */
  end(payload: Buffer): boolean {
    const span = payload.length > MAX_SPAN_BYTES ? undefined : FunctionSpan.safeParse(json(payload)).data;
    if (!span) return this.drop();
    // It was told as one that has not ended.
    if (this.#taken.has(span.spanId)) return false;
    const begun = this.#known.get(span.spanId);
    const before = Buffer.isBuffer(begun) ? begun.length + END_BYTES : 0;
    if ((begun && before === 0) || (!begun && !this.#fits(payload.length))) return this.drop();
    if (begun && this.#bytes - before + payload.length > MAX_RUN_SPAN_BYTES) {
      this.#known.set(span.spanId, withoutParts(span));
      return true;
    }
    this.#bytes += payload.length - before;
    this.#known.set(span.spanId, span);
    return true;
  }

  /** Counts one that is not kept, or as many as the sandbox says that it has left out. Always false. */
  drop(count = 1): false {
    this.#dropped += count;
    return false;
  }

  /** Each is taken once: those that have not ended, as they stand `now`, by Unix time. */
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
  const span = BegunSpan.safeParse(json(begun.subarray(ID_BYTES))).data;
  if (span?.spanId !== id) return undefined;
  return { ...span, duration: Math.max(0, now - span.startedAt), unfinished: true };
}

/** There is no room for what it says, but it is there: others may name it as their parent. */
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
