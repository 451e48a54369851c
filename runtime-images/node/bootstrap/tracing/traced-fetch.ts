/** Wraps `fetch` in a span and passes the span on in the request's headers, so that a trace continues in the called service. */
import { ERROR, isValid, type Span, type SpanContext, type SpanOptions } from './otel-span.ts';

const CLIENT = 2;

interface Tracing {
  readonly startSpan: (name: string, options: SpanOptions) => Span;
  readonly headersOf: (context: SpanContext) => [string, string][];
}

/** Calls `fetch` within a span. Headers that the function sets itself stay as they are. */
export async function tracedFetch(
  original: typeof globalThis.fetch,
  input: RequestInfo | URL,
  init: RequestInit | undefined,
  { startSpan, headersOf }: Tracing,
): Promise<Response> {
  const { method, url } = describe(input, init);
  const attributes = { 'http.request.method': method, ...urlFacts(url) };
  const span = startSpan(method, { kind: CLIENT, attributes });
  try {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
    if (!headers.has('traceparent') && isValid(span.spanContext()))
      for (const [name, value] of headersOf(span.spanContext())) headers.set(name, value);
    const response = await original(input, { ...init, headers });
    span.setAttribute('http.response.status_code', response.status);
    if (response.status >= 400) {
      span.setAttribute('error.type', String(response.status));
      span.setStatus({ code: ERROR, message: String(response.status) });
    }
    return response;
  } catch (error) {
    span.recordException(error);
    span.setAttribute('error.type', error instanceof Error ? error.name : typeof error);
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

/** Leaves out user info and query, which may carry secrets. */
function urlFacts(url: string): Record<string, string | number> {
  if (!URL.canParse(url)) return {};
  const { origin, pathname, hostname, port, protocol } = new URL(url);
  return {
    'url.full': `${origin}${pathname}`,
    'server.address': hostname,
    'server.port': Number(port) || (protocol === 'https:' ? 443 : 80),
  };
}
