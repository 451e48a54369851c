/**
 * Implements the spans of `@opentelemetry/api`, and the set of spans of one invocation. The worker gets each span at its begin
 * and again at its end, so the open spans of a killed sandbox are known too.
 */
import { randomBytes } from 'node:crypto';
import { clockOrigin } from '#contract/wire/host-clock.ts';

export const ERROR = 2;
const OK = 1;
const MAX_TEXT = 1_024;
const MAX_ATTRIBUTES = 64;
/** Upper bound on events, and on links; the contract allows no more per span. */
const MAX_PARTS = 32;
/** Upper bound on the characters of attributes, events and links of one span. */
const MAX_CHARACTERS = 6_000;
/** Upper bound on an encoded span; the worker parses no longer ones. */
const MAX_SPAN_BYTES = 8 * 1024;
/**
 * Upper bounds on spans of one invocation, and on their bytes, after which no new span begins. The worker accepts slightly more
 * bytes.
 */
const MAX_SPANS = 128;
const MAX_BYTES = 40 * 1024;
const INVALID: SpanContext = { traceId: '0'.repeat(32), spanId: '0'.repeat(16), traceFlags: 0 };

type Attribute = string | number | boolean;

export interface SpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
  readonly isRemote?: boolean;
  readonly traceState?: { serialize(): string };
}

interface Link {
  readonly context: SpanContext;
  readonly attributes?: Record<string, unknown>;
}

export interface SpanOptions {
  readonly kind?: number;
  readonly attributes?: Record<string, unknown>;
  readonly links?: readonly Link[];
  readonly startTime?: unknown;
  readonly root?: boolean;
}

/** Description of a span for the worker; with a duration it is a `FunctionSpan` of the contract. */
interface Told {
  readonly name: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly kind: number;
  readonly startedAt: number;
  readonly duration?: number;
  readonly unfinished?: true;
  readonly error?: string;
  readonly ok?: true;
  readonly attributes?: Record<string, Attribute>;
  readonly events?: readonly object[];
  readonly links?: readonly object[];
  readonly dropped?: Record<string, number>;
}

/** Messages to the worker: a span has begun (its id, JSON), a span has ended (JSON), spans were left out (their number). */
export interface SpanChannel {
  begun(handle: number, span: string, facts: Buffer): void;
  ended(handle: number, payload: Buffer): void;
  /** Like `ended`, but not urgent: leaves with the answer. */
  unfinished(handle: number, payload: Buffer): void;
  dropped(handle: number, count: number): void;
}

/** The spans of one invocation. */
export class Scope {
  /** The span of the run, as received from the worker. */
  readonly parent: SpanContext;
  /** Origin of all times here, read once: a clock that is set meanwhile must not make a span longer. */
  readonly origin = clockOrigin();
  readonly #handle: number;
  readonly #channel: SpanChannel;
  readonly #open = new Set<Span>();
  #begun = 0;
  #bytes = 0;
  #dropped = 0;

  constructor(handle: number, parent: SpanContext, channel: SpanChannel) {
    this.#handle = handle;
    this.parent = parent;
    this.#channel = channel;
  }

  /**
   * Starts a span. Beyond the limit, the span only passes its parent's context on, so that no header or child names an unknown
   * span.
   */
  start(name: string, options: SpanOptions, given: SpanContext | undefined): Span {
    // The trace of an invocation is its own: a parent from another trace, such as a message's, becomes a link.
    const isForeign = given !== undefined && given.traceId !== this.parent.traceId;
    const parent = given && !isForeign ? given : this.parent;
    if (this.#begun >= MAX_SPANS || this.#bytes > MAX_BYTES) {
      this.#dropped++;
      return new Span(parent);
    }
    this.#begun++;
    const { traceId, traceFlags } = this.parent;
    const { traceState } = parent;
    const context = {
      traceId,
      spanId: randomBytes(8).toString('hex'),
      traceFlags,
      ...(traceState && { traceState }),
    };
    const span = new Span(context, { scope: this, name, parentSpanId: parent.spanId, options });
    if (isForeign) span.addLink({ context: given });
    this.#open.add(span);
    const begun = encode(span.told());
    this.#bytes += begun.length;
    this.#channel.begun(this.#handle, context.spanId, begun);
    return span;
  }

  ended(span: Span): void {
    if (!this.#open.delete(span)) return;
    const ended = encode(span.told());
    this.#bytes += ended.length;
    this.#channel.ended(this.#handle, ended);
  }

  /**
   * Sends open spans in their present state and forgets them, because the answer comes next or the run is over. Their later end
   * is not sent.
   */
  close(): void {
    for (const span of this.#open) this.#channel.unfinished(this.#handle, encode(span.told(true)));
    this.#open.clear();
    if (this.#dropped > 0) this.#channel.dropped(this.#handle, this.#dropped);
    this.#dropped = 0;
  }
}

interface Recorded {
  readonly scope: Scope;
  readonly name: string;
  readonly parentSpanId: string;
  readonly options: SpanOptions;
}

export class Span {
  readonly #context: SpanContext;
  /** Without a scope, the span records nothing and only passes its context on. */
  readonly #scope: Scope | undefined;
  readonly #parentSpanId: string;
  readonly #kind: number;
  readonly #startedAt: number;
  readonly #attributes = new Map<string, Attribute>();
  readonly #events: object[] = [];
  readonly #links: object[] = [];
  readonly #dropped = { attributes: 0, events: 0, links: 0 };
  #room = MAX_CHARACTERS;
  #name: string;
  #error: string | undefined;
  #isOk = false;
  #endedAt: number | undefined;

  constructor(context: SpanContext, recorded?: Recorded) {
    const { scope, name, parentSpanId, options = {} }: Partial<Recorded> = recorded ?? {};
    this.#context = context;
    this.#scope = scope;
    this.#name = textOf(name ?? '');
    this.#parentSpanId = parentSpanId ?? '';
    this.#kind = options.kind ?? 0;
    this.#startedAt = this.#toUnix(options.startTime);
    if (options.attributes) this.setAttributes(options.attributes);
    if (options.links) this.addLinks(options.links);
  }

  static readonly invalid = new Span(INVALID);

  spanContext(): SpanContext {
    return this.#context;
  }

  isRecording(): boolean {
    return this.#scope !== undefined && this.#endedAt === undefined;
  }

  setAttribute(key: string, value: unknown): this {
    const known = plain(value);
    if (!this.isRecording() || known === undefined) return this;
    const isKnown = this.#attributes.has(key);
    if ((!isKnown && this.#attributes.size >= MAX_ATTRIBUTES) || !this.#take(sizeOf(key, known)))
      this.#dropped.attributes++;
    else this.#attributes.set(textOf(key), known);
    return this;
  }

  setAttributes(attributes: Record<string, unknown>): this {
    for (const [key, value] of Object.entries(attributes)) this.setAttribute(key, value);
    return this;
  }

  addEvent(name: string, attributesOrTime?: unknown, time?: unknown): this {
    if (!this.isRecording()) return this;
    const isTime = isTimeInput(attributesOrTime);
    const attributes = plainAll(isTime ? undefined : attributesOrTime);
    const event = {
      name: textOf(name),
      time: this.#toUnix(isTime ? attributesOrTime : time),
      ...(attributes && { attributes }),
    };
    this.#add(this.#events, 'events', event);
    return this;
  }

  addLink({ context, attributes }: Link): this {
    if (!this.isRecording() || !isValid(context)) return this;
    const { traceId, spanId } = context;
    const known = plainAll(attributes);
    this.#add(this.#links, 'links', { traceId, spanId, ...(known && { attributes: known }) });
    return this;
  }

  addLinks(links: readonly Link[]): this {
    for (const link of links) this.addLink(link);
    return this;
  }

  updateName(name: string): this {
    if (this.isRecording()) this.#name = textOf(name);
    return this;
  }

  /** A status of OK is final, as the API requires. */
  setStatus({ code, message }: { code: number; message?: string }): this {
    if (!this.isRecording() || this.#isOk) return this;
    if (code === OK) this.#isOk = true;
    if (code === ERROR) this.#error = textOf(message ?? '');
    return this;
  }

  /** https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-spans/ */
  recordException(thrown: unknown, time?: unknown): void {
    const { name, message, stack } =
      typeof thrown === 'object' && thrown !== null
        ? (thrown as Partial<Error>)
        : { message: String(thrown) };
    this.addEvent(
      'exception',
      {
        'exception.type': name ?? 'Error',
        'exception.message': message ?? '',
        'exception.stacktrace': stack,
      },
      time,
    );
  }

  end(endTime?: unknown): void {
    if (this.#endedAt !== undefined || !this.#scope) return;
    this.#endedAt = this.#toUnix(endTime);
    this.#scope.ended(this);
  }

  /** Returns the span's present state. `closing`: mark it as unfinished, with a duration until now. */
  told(closing = false): Told {
    const until = this.#endedAt ?? (closing ? this.#toUnix(undefined) : undefined);
    const dropped = Object.entries(this.#dropped).filter(([, count]) => count > 0);
    return {
      name: this.#name,
      spanId: this.#context.spanId,
      parentSpanId: this.#parentSpanId,
      kind: this.#kind,
      startedAt: this.#startedAt,
      ...(until !== undefined && { duration: Math.max(0, until - this.#startedAt) }),
      ...(closing && { unfinished: true }),
      ...(this.#isOk ? { ok: true } : this.#error !== undefined && { error: this.#error }),
      ...(this.#attributes.size > 0 && { attributes: Object.fromEntries(this.#attributes) }),
      ...(this.#events.length > 0 && { events: this.#events }),
      ...(this.#links.length > 0 && { links: this.#links }),
      ...(dropped.length > 0 && { dropped: Object.fromEntries(dropped) }),
    };
  }

  /**
   * Converts the API's forms of a time to Unix milliseconds: Unix time, performance.now(), a Date, or seconds and nanoseconds.
   */
  #toUnix(time: unknown): number {
    const origin = this.#scope?.origin ?? 0;
    let unix = Number.NaN;
    if (typeof time === 'number') unix = time > origin / 2 ? time : origin + time;
    if (time instanceof Date) unix = time.getTime();
    if (Array.isArray(time)) unix = Number(time[0]) * 1_000 + Number(time[1]) / 1e6;
    return Number.isFinite(unix) && unix >= 0 ? unix : origin + performance.now();
  }

  #add(to: object[], what: 'events' | 'links', part: object): void {
    if (to.length >= MAX_PARTS || !this.#take(JSON.stringify(part).length)) this.#dropped[what]++;
    else to.push(part);
  }

  #take(characters: number): boolean {
    if (characters > this.#room) return false;
    this.#room -= characters;
    return true;
  }
}

/**
 * Encodes a span. One that is too long, for example by characters of six bytes each, is sent without attributes, events and
 * links.
 */
function encode(told: Told): Buffer {
  const whole = Buffer.from(JSON.stringify(told));
  if (whole.length <= MAX_SPAN_BYTES) return whole;
  const { attributes = {}, events = [], links = [], dropped = {}, ...bare } = told;
  const counts = {
    attributes: (dropped['attributes'] ?? 0) + Object.keys(attributes).length,
    events: (dropped['events'] ?? 0) + events.length,
    links: (dropped['links'] ?? 0) + links.length,
  };
  const left = Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  const { name, error } = bare;
  return Buffer.from(
    JSON.stringify({
      ...bare,
      name: name.slice(0, MAX_TEXT / 4),
      ...(error !== undefined && { error: error.slice(0, MAX_TEXT / 4) }),
      ...(Object.keys(left).length > 0 && { dropped: left }),
    }),
  );
}

export function isValid(context: SpanContext | undefined): context is SpanContext {
  return (
    context !== undefined &&
    /^(?!0{32})[0-9a-f]{32}$/.test(context.traceId) &&
    /^(?!0{16})[0-9a-f]{16}$/.test(context.spanId)
  );
}

function isTimeInput(value: unknown): boolean {
  return typeof value === 'number' || value instanceof Date || Array.isArray(value);
}

function textOf(value: unknown): string {
  return String(value).slice(0, MAX_TEXT);
}

function plain(value: unknown): Attribute | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string') return value.slice(0, MAX_TEXT);
  if (Array.isArray(value)) return value.slice(0, MAX_ATTRIBUTES).join(', ').slice(0, MAX_TEXT);
  return undefined;
}

function plainAll(attributes: unknown): Record<string, Attribute> | undefined {
  if (typeof attributes !== 'object' || attributes === null) return undefined;
  const known = Object.entries(attributes)
    .slice(0, MAX_ATTRIBUTES)
    .flatMap(([key, value]): [string, Attribute][] => {
      const one = plain(value);
      return one === undefined ? [] : [[textOf(key), one]];
    });
  return known.length > 0 ? Object.fromEntries(known) : undefined;
}

function sizeOf(key: string, value: Attribute): number {
  return key.length + (typeof value === 'string' ? value.length : 8) + 6;
}
