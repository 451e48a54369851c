/**
 * What `@opentelemetry/api` finds in a sandbox, whichever 1.x of it a function has bundled: a tracer whose ended spans go to the
 * worker over the channel, so they need no network, and are not lost with the sandbox. `fetch` has a span without any code.
 *
 * The API keeps its implementation in a global by a well-known symbol; what is asked of it there is little enough to be
 * written down here, and a package in the zygote would be in every fork.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { currentHandle, logSpan } from './capture-logs.ts';

/** Accepted by each API of 1.x, which asks for a minor version that is at least its own. */
const API_VERSION = '1.99.0';
const API_KEY = Symbol.for('opentelemetry.js.api.1');
const SPAN_KEY = Symbol.for('OpenTelemetry Context Key SPAN');
const CLIENT = 2;
const ERROR = 2;
const MAX_TEXT = 1_024;
const MAX_ATTRIBUTES = 64;
/** The worker keeps no more of one invocation. */
const MAX_SPANS = 128;

type Attribute = string | number | boolean;

interface SpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
  readonly isRemote?: boolean;
}

interface Scope {
  readonly handle: number;
  readonly parent: SpanContext;
  readonly tracestate: string | undefined;
  spans: number;
}

interface SpanOptions {
  readonly kind?: number;
  readonly attributes?: Record<string, unknown>;
  readonly startTime?: unknown;
  readonly root?: boolean;
}

/** Immutable, as the API wants it. */
class Context {
  readonly #values: ReadonlyMap<symbol, unknown>;

  constructor(values: ReadonlyMap<symbol, unknown> = new Map()) {
    this.#values = values;
  }

  getValue(key: symbol): unknown {
    return this.#values.get(key);
  }

  setValue(key: symbol, value: unknown): Context {
    return new Context(new Map(this.#values).set(key, value));
  }

  deleteValue(key: symbol): Context {
    const values = new Map(this.#values);
    values.delete(key);
    return new Context(values);
  }
}

const scopes = new Map<number, Scope>();
const contexts = new AsyncLocalStorage<Context>();
const ROOT = new Context();
let send: ((handle: number, span: string) => void) | undefined;

/** An invocation begins; its spans are children of what the worker has told. */
export function beginTracing(handle: number, traceparent: string, tracestate?: string): void {
  if (!send) return;
  const [, traceId, spanId, flags] = traceparent.split('-');
  if (traceId && spanId)
    scopes.set(handle, {
      handle,
      parent: { traceId, spanId, traceFlags: Number(flags) & 1, isRemote: true },
      tracestate,
      spans: 0,
    });
}

export function endTracing(handle: number): void {
  scopes.delete(handle);
}

function currentScope(): Scope | undefined {
  return scopes.get(currentHandle.getStore() ?? -1);
}

/** The context of the code that runs now: one of its own making, or that of its invocation. */
function active(): Context {
  const own = contexts.getStore();
  if (own) return own;
  const scope = currentScope();
  return scope ? ROOT.setValue(SPAN_KEY, new Span(undefined, '', scope.parent, undefined, {})) : ROOT;
}

function toUnix(time: unknown): number {
  if (typeof time === 'number')
    return time > performance.timeOrigin / 2 ? time : performance.timeOrigin + time;
  if (time instanceof Date) return time.getTime();
  if (Array.isArray(time)) return Number(time[0]) * 1_000 + Number(time[1]) / 1e6;
  return performance.timeOrigin + performance.now();
}

function plain(value: unknown): Attribute | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string') return value.slice(0, MAX_TEXT);
  if (Array.isArray(value)) return value.slice(0, MAX_ATTRIBUTES).join(', ').slice(0, MAX_TEXT);
  return undefined;
}

class Span {
  readonly #scope: Scope | undefined;
  readonly #context: SpanContext;
  readonly #parentSpanId: string | undefined;
  readonly #kind: number;
  readonly #startedAt: number;
  readonly #attributes = new Map<string, Attribute>();
  #name: string;
  #error: string | undefined;
  #ended = false;

  /** Without a scope it records nothing, and only passes its context on. */
  constructor(
    scope: Scope | undefined,
    name: string,
    context: SpanContext,
    parentSpanId: string | undefined,
    options: SpanOptions,
  ) {
    this.#scope = scope;
    this.#name = name.slice(0, MAX_TEXT);
    this.#context = context;
    this.#parentSpanId = parentSpanId;
    this.#kind = options.kind ?? 0;
    this.#startedAt = toUnix(options.startTime);
    if (options.attributes) this.setAttributes(options.attributes);
  }

  spanContext(): SpanContext {
    return this.#context;
  }

  isRecording(): boolean {
    return this.#scope !== undefined && !this.#ended;
  }

  setAttribute(key: string, value: unknown): this {
    const known = plain(value);
    if (this.#ended || known === undefined || this.#attributes.size >= MAX_ATTRIBUTES) return this;
    this.#attributes.set(key.slice(0, MAX_TEXT), known);
    return this;
  }

  setAttributes(attributes: Record<string, unknown>): this {
    for (const [key, value] of Object.entries(attributes)) this.setAttribute(key, value);
    return this;
  }

  addEvent(name: string): this {
    return this.setAttribute(`event.${name}`, true);
  }

  addLink(): this {
    return this;
  }

  addLinks(): this {
    return this;
  }

  updateName(name: string): this {
    if (!this.#ended) this.#name = name.slice(0, MAX_TEXT);
    return this;
  }

  setStatus({ code, message }: { code: number; message?: string }): this {
    this.#error = code === ERROR ? (message ?? '').slice(0, MAX_TEXT) : undefined;
    return this;
  }

  recordException(thrown: unknown): void {
    const { name, message } = thrown instanceof Error ? thrown : { name: 'Error', message: String(thrown) };
    this.setAttributes({ 'exception.type': name, 'exception.message': message });
  }

  end(endTime?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const scope = this.#scope;
    // One that ends after its invocation has nobody to be told to.
    if (!scope || scopes.get(scope.handle) !== scope || ++scope.spans > MAX_SPANS) return;
    send?.(
      scope.handle,
      JSON.stringify({
        name: this.#name,
        spanId: this.#context.spanId,
        parentSpanId: this.#parentSpanId ?? scope.parent.spanId,
        kind: this.#kind,
        startedAt: this.#startedAt,
        duration: Math.max(0, toUnix(endTime) - this.#startedAt),
        ...(this.#error !== undefined && { error: this.#error }),
        ...(this.#attributes.size > 0 && { attributes: Object.fromEntries(this.#attributes) }),
      }),
    );
  }
}

interface AnyContext {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): AnyContext;
}

function startSpan(name: string, options: SpanOptions = {}, context: AnyContext = active()): Span {
  const scope = currentScope();
  const given = options.root === true ? undefined : (context.getValue(SPAN_KEY) as Span | undefined);
  const parent = given?.spanContext() ?? scope?.parent;
  const traceId = scope?.parent.traceId ?? parent?.traceId ?? '0'.repeat(32);
  const recording = scope !== undefined && scope.parent.traceFlags === 1;
  const spanId = recording ? randomBytes(8).toString('hex') : (parent?.spanId ?? '0'.repeat(16));
  const own = { traceId, spanId, traceFlags: recording ? 1 : 0 };
  return new Span(recording ? scope : undefined, name, own, parent?.spanId, options);
}

const tracer = {
  startSpan,
  startActiveSpan(name: string, ...rest: unknown[]): unknown {
    const act = rest.at(-1) as (span: Span) => unknown;
    const options = (rest.length > 1 ? rest[0] : {}) as SpanOptions;
    const context = (rest.length > 2 ? rest[1] : active()) as AnyContext;
    const span = startSpan(name, options, context);
    return contexts.run(context.setValue(SPAN_KEY, span) as Context, () => act(span));
  },
};

const contextManager = {
  active,
  with: (context: Context, act: (...given: unknown[]) => unknown, self: unknown, ...given: unknown[]) =>
    contexts.run(context, () => act.call(self, ...given)),
  bind: (context: Context, target: unknown) =>
    typeof target === 'function'
      ? function bound(this: unknown, ...given: unknown[]): unknown {
          return contexts.run(context, () => (target as (...all: unknown[]) => unknown).apply(this, given));
        }
      : target,
  enable: () => contextManager,
  disable: () => contextManager,
};

const propagation = {
  inject(
    context: AnyContext,
    carrier: unknown,
    setter: { set(to: unknown, key: string, value: string): void },
  ): void {
    const span = (context.getValue(SPAN_KEY) as Span | undefined)?.spanContext();
    if (!span) return;
    setter.set(carrier, 'traceparent', format(span));
    const tracestate = currentScope()?.tracestate;
    if (tracestate !== undefined) setter.set(carrier, 'tracestate', tracestate);
  },
  extract: (context: AnyContext) => context,
  fields: () => ['traceparent', 'tracestate'],
};

function format({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-0${traceFlags & 1}`;
}

let plainFetch: typeof globalThis.fetch | undefined;

/**
 * Puts it in place, before the function is loaded, or takes it away without `sendSpan`, which writes the JSON of an ended span
 * for an invocation. The rehearsal of the zygote has put it in place already, for another channel.
 */
export function setTracing(sendSpan: ((handle: number, span: string) => void) | undefined): void {
  send = sendSpan;
  if (!sendSpan) {
    Reflect.deleteProperty(globalThis, API_KEY);
    if (plainFetch) globalThis.fetch = plainFetch;
    plainFetch = undefined;
    return;
  }
  if (plainFetch) return;
  logSpan.current = () => {
    const span = contexts.getStore()?.getValue(SPAN_KEY);
    return span instanceof Span && span.isRecording() ? span.spanContext().spanId : undefined;
  };
  Object.defineProperty(globalThis, API_KEY, {
    value: { version: API_VERSION, trace: { getTracer: () => tracer }, context: contextManager, propagation },
    configurable: true,
    writable: true,
  });
  const original = globalThis.fetch;
  plainFetch = original;
  globalThis.fetch = async function fetch(input, init) {
    const scope = currentScope();
    if (!scope) return await original(input, init);
    return await tracedFetch(original, input, init);
  };
}

async function tracedFetch(
  original: typeof globalThis.fetch,
  input: RequestInfo | URL,
  init: RequestInit | undefined,
): Promise<Response> {
  const { method, url } = describe(input, init);
  const attributes = { 'http.request.method': method, ...urlFacts(url) };
  const span = startSpan(method, { kind: CLIENT, attributes });
  const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
  if (!headers.has('traceparent')) {
    const tracestate = currentScope()?.tracestate;
    headers.set('traceparent', format(span.spanContext()));
    if (tracestate !== undefined) headers.set('tracestate', tracestate);
  }
  try {
    const response = await original(input, { ...init, headers });
    span.setAttribute('http.response.status_code', response.status);
    if (response.status >= 400) span.setStatus({ code: ERROR, message: String(response.status) });
    return response;
  } catch (error) {
    span.recordException(error);
    span.setStatus({ code: ERROR, message: error instanceof Error ? error.message : String(error) });
    throw error;
  } finally {
    span.end();
  }
}

function describe(input: RequestInfo | URL, init: RequestInit | undefined): { method: string; url: string } {
  const request = input instanceof Request ? input : undefined;
  return {
    method: (init?.method ?? request?.method ?? 'GET').toUpperCase(),
    url: request?.url ?? (input instanceof URL ? input.href : (input as string)),
  };
}

/** Without user info and query, which may carry secrets. */
function urlFacts(url: string): Record<string, string | number> {
  if (!URL.canParse(url)) return {};
  const { origin, pathname, hostname, port, protocol } = new URL(url);
  return {
    'url.full': `${origin}${pathname}`,
    'server.address': hostname,
    'server.port': Number(port) || (protocol === 'https:' ? 443 : 80),
  };
}
