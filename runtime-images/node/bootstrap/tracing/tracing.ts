/**
 * Implements `@opentelemetry/api` for functions in a sandbox, for whichever 1.x a function has bundled. Its tracer sends spans
 * over the channel to the worker, so they need no network and survive the sandbox. `fetch` gets spans without any code.
 *
 * An SDK that the function registers takes its place (api-global.ts); the spans of `fetch` stay. Few methods are needed, so they
 * are written here: a package loaded in the zygote would be in every fork.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { channel as diagnostics } from 'node:diagnostics_channel';
import { formatTraceparent, parseTraceparent } from '#contract/wire/trace-context.ts';
import { currentHandle, logSpan } from '../output/capture-logs.ts';
import { installApi, ownPart, removeApi } from './api-global.ts';
import { LateTracer } from './late-tracer.ts';
import { isValid, Scope, Span, type SpanChannel, type SpanContext, type SpanOptions } from './otel-span.ts';
import { TraceState } from './trace-state.ts';
import { tracedFetch } from './traced-fetch.ts';

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

/** Is the context's span one of the function's own SDK in the trace of the run? The record does not have it as a parent. */
function isUnknown(context: AnyContext, scope: Scope | undefined): boolean {
  const span = context.getValue(SPAN_KEY);
  return (
    ownPart('trace') !== undefined &&
    !(span instanceof Span) &&
    spanContextOf(context)?.traceId === scope?.parent.traceId
  );
}

/**
 * Starts a span whatever the caller's sampling flag: the invocation's record shows all spans, and the export is decided at the
 * end.
 */
function startSpan(name: string, options: SpanOptions = {}, context: AnyContext = active()): Span {
  if (context.getValue(SUPPRESS_KEY) === true) return Span.invalid;
  const scope = currentScope();
  const given = options.root === true || isUnknown(context, scope) ? undefined : spanContextOf(context);
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

/** Context of the function's own context manager, if the function has registered one. */
function ownContext(): AnyContext | undefined {
  return (ownPart('context') as { active(): AnyContext } | undefined)?.active();
}

/** The channel by which instrumentations of `fetch` add headers to a request that is made already. */
const requests = diagnostics('undici:request:create');

/** Does an instrumentation of the function's own SDK send the trace context along with `fetch`? */
function propagatesItself(): boolean {
  return ownPart('trace') !== undefined && requests.hasSubscribers;
}

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
    removeApi();
    if (plainFetch) globalThis.fetch = plainFetch;
    plainFetch = undefined;
    return;
  }
  if (plainFetch) return;
  logSpan.current = () => {
    const span = contexts.getStore()?.getValue(SPAN_KEY);
    return span instanceof Span && span.isRecording() ? span.spanContext().spanId : undefined;
  };
  const trace = {
    getTracer: (...identity: unknown[]) => new LateTracer(tracer, identity),
    // Of the API's and the SDK's providers: code calls them before its sandbox may end. The worker has each span already.
    getDelegate: () => trace,
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  };
  installApi({ trace, context: contextManager, propagation });
  const original = globalThis.fetch;
  plainFetch = original;
  globalThis.fetch = async function fetch(input, init) {
    const isSilent = (ownContext() ?? contexts.getStore())?.getValue(SUPPRESS_KEY) === true;
    if (isSilent || (!currentScope() && !contexts.getStore())) return await original(input, init);
    const headers = propagatesItself() ? () => [] : headersOf;
    return await tracedFetch(original, input, init, { startSpan, headersOf: headers });
  };
}
