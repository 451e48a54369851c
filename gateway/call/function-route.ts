/**
 * Serves ANY /fn/{namespace}/{name}/{path}, the calls of functions. It works on node:http directly and not through hono. So a
 * function gets the path byte for byte as it was sent, while the URL class would have resolved `..` and `//`. Headers keep
 * their order and repetitions, streams keep their back-pressure, and a call costs less.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { INVOCATION_HEADER } from '#contract/api/headers.ts';
import { FUNCTION_PREFIX } from '#contract/functions/function-path.ts';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { whyNotJson } from '#contract/api/json-scanner.ts';
import type { AnyInvocation, InvocationRecord, OpenInvocation } from '#contract/invocations/invocation.ts';
import { encodePayload, jsonMeta, type RequestMeta } from '#contract/wire/payload.ts';
import type { Quota } from '#contract/functions/quota.ts';
import type { Log } from '#storage/log.ts';
import type { QuotaLease } from '#storage/limits/quota-leases.ts';
import { redisError } from '#storage/redis/redis.ts';
import { demand, presentedKey } from '../functions/access.ts';
import { bodyLimit, checkAnnouncedLength, readBody, RequestAborted } from './body.ts';
import type { Admission } from './admission.ts';
import type { FunctionCache } from '../functions/function-cache.ts';
import type { Dispatcher } from '../dispatch/dispatch.ts';
import { Exchange } from './exchange.ts';
import type { Enqueuer } from '../queued/enqueuer.ts';
import { queuedOptions } from '../queued/options.ts';
import { failureAnswer } from './failure.ts';
import { newInvocationId } from '../dispatch/ids.ts';
import { Invocation } from '../dispatch/invocation.ts';
import { parseFunctionPath, rawTarget, requestMeta, single, type FunctionPath } from './request.ts';
import type { Spool, Spooled } from './spool.ts';
import { allows } from '../functions/api-keys.ts';
import type { Target } from '../dispatch/target.ts';

const NOTHING = Buffer.alloc(0);
/** Upper bound on an event that is checked to be JSON, for a clear error; checking a larger one would delay other calls. */
const MAX_CHECKED_EVENT_BYTES = 128 * 1024;

/** A call that has passed all checks: the caller is authorised, and the request is complete. */
interface CheckedCall {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly meta: RequestMeta;
  /** Path for the record, without the query, which may hold secrets. */
  readonly path: string;
  readonly body: Buffer | Spooled;
  readonly trusted: boolean;
  readonly arrived: number;
}

export interface FunctionRouteOptions {
  readonly functionCache: FunctionCache;
  readonly dispatcher: Dispatcher;
  readonly maxBodyBytes: number;
  /** Larger bodies go through the artifact store. */
  readonly inlineBytes: number;
  readonly spool: Spool;
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

  /** Handles one request and always answers it. `asksFirst`: the client waits for a 100 before it sends the body. */
  handle(request: IncomingMessage, response: ServerResponse, asksFirst = false): void {
    this.#serve(request, response, asksFirst).catch((error: unknown) =>
      this.#refuse(request, response, error),
    );
  }

  /**
   * Calls a function, or queues the call, with the body of the request (one JSON value) as its event. The caller has checked
   * the key.
   */
  async event(
    request: IncomingMessage,
    response: ServerResponse,
    target: Target,
    { queued = false } = {},
  ): Promise<void> {
    const arrived = performance.now();
    try {
      if (queued) await this.#checkQueued(request, target);
      const body = await this.#read(request, target, queued);
      if (Buffer.isBuffer(body) && body.length <= MAX_CHECKED_EVENT_BYTES) checkJson(body);
      const meta = jsonMeta('event');
      const checked = { request, response, target, meta, path: '/', body, trusted: true, arrived };
      if (queued) await this.#enqueue(checked);
      else if (target.quota === undefined) this.#call(checked);
      else await this.#callLimited(checked, target.quota);
    } catch (error) {
      this.#refuse(request, response, error);
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse, asksFirst: boolean): Promise<void> {
    const arrived = performance.now();
    const { functionCache, trustProxy } = this.#options;
    const path = parseFunctionPath(rawTarget(request.url ?? ''));
    if (!path)
      throw new OffshootError('not_found', `the path of a function is ${FUNCTION_PREFIX}NAMESPACE/NAME`);
    // A function gets a Request of the fetch standard, which does not allow this method.
    if (request.method === 'TRACE')
      throw new OffshootError('bad_request', 'functions cannot be called by TRACE');

    const presented = presentedKey(request.headers);
    const holder =
      presented && (functionCache.peekKey(presented.key) ?? (await functionCache.key(presented.key)));
    const target = functionCache.peekTarget(path.namespace, path.name) ?? (await this.#find(path, holder));
    if (!target.isPublic) demand(holder, presented, 'invoke', target.namespace);

    const trusted = holder !== undefined && allows(holder, 'invoke', target.namespace);
    // A server may ignore a preference (RFC 7240). Callers without a key cannot queue, because they could fill Redis.
    const queued = trusted && asksForAsync(request.headers.prefer);
    if (queued) await this.#checkQueued(request, target);
    const reading = this.#read(request, target, queued, asksFirst ? response : undefined);
    const body = reading instanceof Promise ? await reading : reading;

    // The platform's key is hidden from the function; a header with any other value may be the function's own.
    const keyHeader = target.isPublic && holder === undefined ? undefined : presented?.header;
    const meta = requestMeta(request, path, { trustProxy, keyHeader }, sizeOf(body));
    if (!meta) {
      this.#discard(body);
      throw new OffshootError('bad_request', 'the Host header is not a host and perhaps a port');
    }
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
    if (queued) await this.#enqueue(checked);
    else if (target.quota === undefined) this.#call(checked);
    else await this.#callLimited(checked, target.quota);
  }

  /** Checks options and queue before the body is read, so that a refused call does not send a large body first. */
  async #checkQueued(request: IncomingMessage, target: Target): Promise<void> {
    queuedOptions(request.headers);
    await this.#options.enqueuer.checkRoom(target.namespace);
  }

  /** Throws `body_too_large`. `mayGoOn`: the response on which a waiting client gets its 100 Continue. */
  #read(
    request: IncomingMessage,
    target: Target,
    queued: boolean,
    mayGoOn?: ServerResponse,
  ): Buffer | Promise<Buffer | Spooled> {
    const { maxBodyBytes, inlineBytes, spool } = this.#options;
    const limit = bodyLimit(target.requestMb, maxBodyBytes);
    checkAnnouncedLength(request, limit);
    mayGoOn?.writeContinue();
    // The limit holds for a body in memory too, even if the operator set OFFSHOOT_INLINE_BODY_BYTES higher.
    return readBody(request, Math.min(inlineBytes, limit.bytes), (begun) => {
      const digest = queued && request.headers['idempotency-key'] !== undefined;
      return spool.keep(request, begun, limit, { queued, digest });
    });
  }

  /** Returns the handler for the end of a call. It gives back the lease, records the call, and removes the body. */
  #finishing(input: Spooled | undefined, left: (() => void) | undefined): (record: InvocationRecord) => void {
    return (record) => {
      left?.();
      this.#options.finished(record);
      if (input) this.#discard(input);
    };
  }

  #discard(body: Buffer | Spooled): void {
    if (!Buffer.isBuffer(body)) void this.#options.spool.remove(body);
  }

  async #callLimited(checked: CheckedCall, quota: Quota): Promise<void> {
    const { admission } = this.#options;
    let lease: QuotaLease;
    try {
      lease = await admission.enter(checked.target, quota, newInvocationId());
    } catch (error) {
      this.#discard(checked.body);
      throw error;
    }
    try {
      this.#call(checked, () => lease.leave());
    } catch (error) {
      lease.leave();
      throw error;
    }
  }

  /** `left`: called when the call has ended. */
  #call(checked: CheckedCall, left?: () => void): void {
    const { response, target, trusted, body } = checked;
    const { dispatcher, lasting } = this.#options;
    const input = Buffer.isBuffer(body) ? undefined : body;
    if (response.destroyed) {
      // The caller disconnected during a wait for Redis or the store. An exchange made now would not see its 'close'.
      this.#discard(body);
      throw new RequestAborted();
    }
    const { invocation, payload } = invocationOf(checked);
    const { id, traceparent, tracestate } = invocation;
    const finished = input || left ? this.#finishing(input, left) : this.#options.finished;
    const exchange = new Exchange({ invocation, response, trusted, finished, lasting });
    invocation.sent();
    exchange.attach(
      dispatcher.invoke(
        { id, target, operation: 'fetch', traceparent, tracestate, payload, input },
        exchange,
      ),
    );
  }

  /** Queues a call and answers 202 when Redis has it, https://www.rfc-editor.org/rfc/rfc7240#section-4.1. */
  async #enqueue(checked: CheckedCall): Promise<void> {
    const { request, response, body } = checked;
    const input = Buffer.isBuffer(body) ? undefined : body;
    let record: AnyInvocation;
    try {
      const options = queuedOptions(request.headers);
      const { invocation, payload } = invocationOf(checked);
      const print = Buffer.isBuffer(body) ? body : Buffer.from(body.digest ?? '');
      record = await this.#options.enqueuer.enqueue(
        invocation,
        Buffer.concat(payload),
        print,
        options,
        input,
      );
      // The idempotency key belongs to an earlier invocation, which has this body already.
      if (input && record.inputBlob !== input.key) this.#discard(input);
    } catch (error) {
      // The call was certainly refused. After any other error Redis may have it, so the body is left to the sweep.
      if (error instanceof OffshootError) this.#discard(body);
      throw error;
    }
    const location = `/api/v1/invocations/${record.id}`;
    const bytes = Buffer.from(JSON.stringify({ id: record.id, state: record.state, url: location }));
    response.writeHead(202, {
      'content-type': 'application/json',
      'content-length': bytes.length,
      'cache-control': 'no-store',
      location,
      'preference-applied': 'respond-async',
      [INVOCATION_HEADER]: record.id,
    });
    response.end(bytes);
  }

  async #find(path: FunctionPath, holder: ApiKeyRecord | undefined): Promise<Target> {
    const { functionCache } = this.#options;
    const target = await functionCache.target(path.namespace, path.name);
    if (!target) throw await functionCache.notFound(path.namespace, path.name, holder);
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
  invocation.requestBytes = sizeOf(body);
  const head = encodePayload(meta, NOTHING);
  return { invocation, payload: Buffer.isBuffer(body) ? [head, body] : [head] };
}

function sizeOf(body: Buffer | Spooled): number {
  return Buffer.isBuffer(body) ? body.length : body.bytes;
}

/** https://www.rfc-editor.org/rfc/rfc7240#section-4.1 */
function asksForAsync(prefer: string | string[] | undefined): boolean {
  return prefer !== undefined && /(?:^|,)\s*respond-async\s*(?:[,;]|$)/i.test(String(prefer));
}

function checkJson(body: Buffer): void {
  const reason = whyNotJson(body);
  if (reason !== undefined) throw new OffshootError('bad_request', `the event is not JSON: ${reason}`);
}

function withoutQuery(path: string): string {
  const query = path.indexOf('?');
  return query === -1 ? path : path.slice(0, query);
}
