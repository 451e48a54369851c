/**
 * Implements `@opentelemetry/api` for functions in a sandbox, for whichever 1.x a function has bundled. Its tracer sends spans
 * over the channel to the worker, so they need no network and survive the sandbox. `fetch` gets spans without any code.
 *
 * The API looks up its implementation in a global under a well-known symbol. Few methods are needed, so they are written here: a
 * package loaded in the zygote would be in every fork.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { formatTraceparent, parseTraceparent } from '#contract/wire/trace-context.ts';
import { currentHandle, logSpan } from '../runtime/capture-logs.ts';
import { isValid, Scope, Span, type SpanChannel, type SpanContext, type SpanOptions } from './otel-span.ts';
import { TraceState } from './trace-state.ts';
import { tracedFetch } from './traced-fetch.ts';

/** Accepted by each 1.x version of the API, which requires a minor version at least as high as its own. */
const API_VERSION = '1.99.0';
const API_KEY = Symbol.for('opentelemetry.js.api.1');
const SPAN_KEY = Symbol.for('OpenTelemetry Context Key SPAN');
/** Set by suppressTracing() of `@opentelemetry/core`. */
const SUPPRESS_KEY = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');

/** An immutable context, as the API requires. */
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

/** A Context, or one made by the API itself. */
interface AnyContext {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): AnyContext;
}

const scopes = new Map<number, Scope>();
const contexts = new AsyncLocalStorage<AnyContext>();
const ROOT = new Context();
let channel: SpanChannel | undefined;

/** Starts tracing of an invocation; its spans are children of the span in `traceparent`. */
export function beginTracing(handle: number, traceparent: string, tracestate?: string): void {
  if (!channel) return;
  const parent = remoteContext(traceparent, tracestate);
  if (parent) scopes.set(handle, new Scope(handle, parent, channel));
}

/** Sends the open spans of an invocation ahead of its answer; the record shows their present state. */
export function tellOpenSpans(handle: number): void {
  scopes.get(handle)?.close();
}

/** Ends tracing of an invocation. Code that still runs for it passes its context on and records nothing. */
export function endTracing(handle: number): void {
  scopes.get(handle)?.close();
  scopes.delete(handle);
}

function remoteContext(
  traceparent: string | undefined,
  tracestate: string | undefined,
): SpanContext | undefined {
  const parsed = parseTraceparent(traceparent);
  if (!parsed) return undefined;
  const { traceId, spanId, sampled } = parsed;
  const traceState = TraceState.parse(tracestate);
  return { traceId, spanId, traceFlags: sampled ? 1 : 0, isRemote: true, ...(traceState && { traceState }) };
}

function currentScope(): Scope | undefined {
  return scopes.get(currentHandle.getStore() ?? -1);
}

/** Returns the context of the running code: one that it set itself, or that of its invocation. */
function active(): AnyContext {
  const own = contexts.getStore();
  if (own) return own;
  const scope = currentScope();
  return scope ? ROOT.setValue(SPAN_KEY, new Span(scope.parent)) : ROOT;
}

function spanContextOf(context: AnyContext): SpanContext | undefined {
  const found = (context.getValue(SPAN_KEY) as Span | undefined)?.spanContext();
  return isValid(found) ? found : undefined;
}

/**
 * Starts a span whatever the caller's sampling flag: the invocation's record shows all spans, and the export is decided at the
 * end.
 */
function startSpan(name: string, options: SpanOptions = {}, context: AnyContext = active()): Span {
  if (context.getValue(SUPPRESS_KEY) === true) return Span.invalid;
  const given = options.root === true ? undefined : spanContextOf(context);
  const scope = currentScope();
  if (scope) return scope.start(name, options, given);
  return given ? new Span(given) : Span.invalid;
}

const tracer = {
  startSpan,
  startActiveSpan(name: string, ...rest: unknown[]): unknown {
    const act = rest.at(-1) as (span: Span) => unknown;
    const options = rest.length > 1 ? (rest[0] as SpanOptions | undefined) : undefined;
    const context = (rest.length > 2 ? (rest[1] as AnyContext | undefined) : undefined) ?? active();
    const span = startSpan(name, options, context);
    return contexts.run(context.setValue(SPAN_KEY, span), () => act(span));
  },
};

const contextManager = {
  active,
  with: (
    context: AnyContext | undefined,
    act: (...given: unknown[]) => unknown,
    self: unknown,
    ...given: unknown[]
  ) => contexts.run(context ?? ROOT, () => act.call(self, ...given)),
  bind: (context: AnyContext, target: unknown) =>
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
    const span = spanContextOf(context);
    if (!span || context.getValue(SUPPRESS_KEY) === true) return;
    for (const [key, value] of headersOf(span)) setter.set(carrier, key, value);
  },
  /** Reads the context of a received message, so that spans can link to it. */
  extract(
    context: AnyContext,
    carrier: unknown,
    getter: { get(from: unknown, key: string): string | string[] | undefined },
  ): AnyContext {
    const [traceparent] = [getter.get(carrier, 'traceparent')].flat();
    const tracestate = [getter.get(carrier, 'tracestate') ?? []].flat().join(',');
    const remote = remoteContext(traceparent, tracestate);
    return remote ? context.setValue(SPAN_KEY, new Span(remote)) : context;
  },
  fields: () => ['traceparent', 'tracestate'],
};

function headersOf({ traceId, spanId, traceFlags, traceState }: SpanContext): [string, string][] {
  const traceparent = formatTraceparent({ traceId, spanId, sampled: (traceFlags & 1) === 1 });
  const tracestate = traceState?.serialize() ?? '';
  const headers: [string, string][] = [['traceparent', traceparent]];
  return tracestate === '' ? headers : [...headers, ['tracestate', tracestate]];
}

let plainFetch: typeof globalThis.fetch | undefined;

/**
 * Installs tracing before the function is loaded, or removes it when `spans` is undefined. The zygote's rehearsal has installed
 * it already, for another channel.
 */
export function setTracing(spans: SpanChannel | undefined): void {
  channel = spans;
  if (!spans) {
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
    const isSilent = contexts.getStore()?.getValue(SUPPRESS_KEY) === true;
    if (isSilent || (!currentScope() && !contexts.getStore())) return await original(input, init);
    return await tracedFetch(original, input, init, { startSpan, headersOf });
  };
}
