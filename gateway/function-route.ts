/**
 * ANY /fn/{namespace}/{name}/{path}: the front door of functions. It works on node:http directly and not through hono:
 * a function gets the path byte for byte as it was sent (the URL class would have resolved `..` and `//`), headers keep
 * their order and repetitions, streams keep their back-pressure, and a call costs less.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ApiKeyRecord } from '#contract/api.ts';
import { OffshootError } from '#contract/errors.ts';
import type { InvocationRecord, OpenInvocation } from '#contract/invocation.ts';
import { encodePayload, type RequestMeta } from '#contract/payload.ts';
import type { Quota } from '#contract/quota.ts';
import type { Log } from '#storage/log.ts';
import { redisError } from '#storage/redis.ts';
import { demand, presentedKey } from './access.ts';
import type { Admission } from './admission.ts';
import { checkAnnouncedLength, lingerOver, readBody, RequestAborted } from './body.ts';
import type { Directory } from './directory.ts';
import type { Dispatcher } from './dispatch.ts';
import { Exchange } from './exchange.ts';
import type { Enqueuer } from './queued/enqueuer.ts';
import { queuedOptions } from './queued/options.ts';
import { failureAnswer } from './failure.ts';
import { newInvocationId } from './ids.ts';
import { Invocation } from './invocation.ts';
import { FUNCTION_PREFIX, parseFunctionPath, rawTarget, requestMeta, type FunctionPath } from './request.ts';
import { allows } from './store/api-keys.ts';
import type { Target } from './target.ts';

const NOTHING = Buffer.alloc(0);
/** Events up to this size are checked to be JSON, for a clear error; larger ones would hold everybody else up meanwhile. */
const MAX_CHECKED_EVENT_BYTES = 128 * 1024;

/** A call that may be made: the caller is allowed to, and the request is whole. */
interface CheckedCall {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly meta: RequestMeta;
  /** For the record: without the query, which may hold secrets. */
  readonly path: string;
  readonly body: Buffer;
  readonly trusted: boolean;
  readonly arrived: number;
}

export interface FunctionRouteOptions {
  readonly directory: Directory;
  readonly dispatcher: Dispatcher;
  readonly maxBodyBytes: number;
  readonly trustProxy: boolean;
  readonly finished: (record: InvocationRecord) => void;
  readonly lasting: (record: OpenInvocation) => void;
  readonly enqueuer: Enqueuer;
  readonly admission: Admission;
  readonly log: Log;
}

export class FunctionRoute {
  readonly #options: FunctionRouteOptions;

  constructor(options: FunctionRouteOptions) {
    this.#options = options;
  }

  /** Handles one request; whatever happens, it is answered. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    this.#serve(request, response).catch((error: unknown) => this.#refuse(request, response, error));
  }

  /**
   * Calls a function with the body of the request, one JSON value, as its event, or queues that. The caller has checked the
   * key.
   */
  async event(
    request: IncomingMessage,
    response: ServerResponse,
    target: Target,
    { queued = false } = {},
  ): Promise<void> {
    const arrived = performance.now();
    try {
      checkAnnouncedLength(request, this.#options.maxBodyBytes);
      const body = await readBody(request, this.#options.maxBodyBytes);
      if (body.length <= MAX_CHECKED_EVENT_BYTES) checkJson(body);
      const meta: RequestMeta = {
        kind: 'event',
        method: 'POST',
        url: `http://localhost${FUNCTION_PREFIX}${target.namespace}/${target.name}`,
        headers: [['content-type', 'application/json']],
      };
      const checked = { request, response, target, meta, path: '/', body, trusted: true, arrived };
      if (queued) await this.#enqueue(checked);
      else if (target.quota === undefined) this.#call(checked);
      else await this.#callLimited(checked, target.quota);
    } catch (error) {
      this.#refuse(request, response, error);
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const arrived = performance.now();
    const { directory, maxBodyBytes, trustProxy } = this.#options;
    const path = parseFunctionPath(rawTarget(request.url ?? ''));
    if (!path) throw new OffshootError('not_found', 'the path of a function is /fn/NAMESPACE/NAME');
    // A function gets its request as the Request of the fetch standard, which there cannot be for this method.
    if (request.method === 'TRACE')
      throw new OffshootError('bad_request', 'functions cannot be called by TRACE');

    const presented = presentedKey(request.headers);
    const holder = presented && (directory.peekKey(presented.key) ?? (await directory.key(presented.key)));
    const target = directory.peekTarget(path.namespace, path.name) ?? (await this.#find(path, holder));
    if (!target.isPublic) demand(holder, presented, 'invoke', target.namespace);

    checkAnnouncedLength(request, maxBodyBytes);
    let body = readBody(request, maxBodyBytes);
    if (body instanceof Promise) body = await body;

    // A key of ours is not shown to the function; a header that only looks like one may be the function's own.
    const keyHeader = target.isPublic && holder === undefined ? undefined : presented?.header;
    const meta = requestMeta(request, path, { trustProxy, keyHeader }, body.length);
    if (!meta) throw new OffshootError('bad_request', 'the Host header is not a host and perhaps a port');
    const trusted = holder !== undefined && allows(holder, 'invoke', target.namespace);
    const checked = {
      request,
      response,
      target,
      meta,
      path: withoutQuery(path.rest),
      body,
      trusted,
      arrived,
    };
    // A preference may be ignored (RFC 7240), and is where nobody is known: what strangers queue would fill Redis.
    if (trusted && asksForAsync(request.headers.prefer)) await this.#enqueue(checked);
    else if (target.quota === undefined) this.#call(checked);
    else await this.#callLimited(checked, target.quota);
  }

  async #callLimited(checked: CheckedCall, quota: Quota): Promise<void> {
    const { admission, finished } = this.#options;
    const place = await admission.enter(checked.target, quota, newInvocationId());
    // Who went away meanwhile is not heard of again: an exchange listens from its making on.
    if (checked.response.destroyed) return place.leave();
    try {
      this.#call(checked, (record) => {
        place.leave();
        finished(record);
      });
    } catch (error) {
      place.leave();
      throw error;
    }
  }

  #call(checked: CheckedCall, finished = this.#options.finished): void {
    const { response, target, trusted } = checked;
    const { invocation, payload } = invocationOf(checked);
    const { id, traceparent, tracestate } = invocation;
    const { dispatcher, lasting } = this.#options;
    const exchange = new Exchange({ invocation, response, trusted, finished, lasting });
    invocation.sent();
    exchange.attach(
      dispatcher.invoke({ id, target, operation: 'fetch', traceparent, tracestate, payload }, exchange),
    );
  }

  /** Answers 202 when Redis has it, https://www.rfc-editor.org/rfc/rfc7240#section-4.1. */
  async #enqueue(checked: CheckedCall): Promise<void> {
    const { request, response } = checked;
    const options = queuedOptions(request.headers);
    const { invocation, payload } = invocationOf(checked);
    const record = await this.#options.enqueuer.enqueue(
      invocation,
      Buffer.concat(payload),
      checked.body,
      options,
    );
    const location = `/api/v1/invocations/${record.id}`;
    const bytes = Buffer.from(JSON.stringify({ id: record.id, state: record.state, url: location }));
    response.writeHead(202, {
      'content-type': 'application/json',
      'content-length': bytes.length,
      'cache-control': 'no-store',
      location,
      'preference-applied': 'respond-async',
      'x-offshoot-invocation': record.id,
    });
    response.end(bytes);
  }
  async #find(path: FunctionPath, holder: ApiKeyRecord | undefined): Promise<Target> {
    const { directory } = this.#options;
    const target = await directory.target(path.namespace, path.name);
    if (!target) throw await directory.notFound(path.namespace, path.name, holder);
    return target;
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (error instanceof RequestAborted) return;
    const refusal = error instanceof OffshootError ? error : redisError(error);
    if (refusal.code === 'internal') this.#options.log.error({ err: error }, 'a call could not be handled');
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const { status, headers, body } = failureAnswer('', { outcome: 'platform_error', error: refusal }, false);
    const bytes = Buffer.from(JSON.stringify(body));
    response.writeHead(status, {
      ...headers,
      ...(status === 401 && { 'www-authenticate': 'Bearer realm="offshoot"' }),
      'content-type': 'application/json',
      'content-length': bytes.length,
      'cache-control': 'no-store',
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
    lingerOver(request);
  }
}

/** The invocation of a call, and its request payload. */
function invocationOf({ request, target, meta, path, body, arrived }: CheckedCall): {
  invocation: Invocation;
  payload: Buffer[];
} {
  const invocation = new Invocation(
    target,
    {
      method: meta.method,
      path,
      traceparent: single(request.headers.traceparent),
      tracestate: single(request.headers.tracestate),
    },
    arrived,
  );
  const { traceparent, tracestate } = invocation;
  meta.headers.push(['traceparent', traceparent]);
  if (tracestate !== undefined) meta.headers.push(['tracestate', tracestate]);
  invocation.requestBytes = body.length;
  return { invocation, payload: [encodePayload(meta, NOTHING), body] };
}

/** https://www.rfc-editor.org/rfc/rfc7240#section-4.1 */
function asksForAsync(prefer: string | string[] | undefined): boolean {
  return prefer !== undefined && /(?:^|,)\s*respond-async\s*(?:[,;]|$)/i.test(String(prefer));
}

function checkJson(body: Buffer): void {
  try {
    JSON.parse(body.toString());
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new OffshootError('bad_request', `the event is not JSON: ${reason}`);
  }
}

function withoutQuery(path: string): string {
  const query = path.indexOf('?');
  return query === -1 ? path : path.slice(0, query);
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
