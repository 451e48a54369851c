/**
 * Typed calls of the management API. Every answer is checked by the schema of the contract, so that a gateway of another
 * version gives an error that says so, not an undefined that surfaces somewhere else.
 */
import { z } from 'zod';
import * as api from '#contract/api/api.ts';
import { Batch, BatchList, ItemsTaken } from '#contract/invocations/batch.ts';
import { CallbackSecrets } from '#contract/invocations/callback.ts';
import { ErrorBody } from '#contract/api/errors.ts';
import { AnyInvocation, type InvocationRecord } from '#contract/invocations/invocation.ts';
import { NamespaceLimits } from '#contract/functions/quota.ts';
import { WholeTrace } from '#contract/invocations/whole-trace.ts';
import { CliError, messageOf } from '../terminal/errors.ts';
import { INVOCATION_HEADER } from '#contract/api/headers.ts';
import { DEFAULT_URL, remedyOfRefusal, type Target } from './credentials.ts';

export interface RequestOptions {
  readonly method?: string;
  readonly json?: unknown;
  readonly body?: NonNullable<RequestInit['body']>;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal | undefined;
  readonly withoutKey?: boolean;
}

/** Reports how many bytes of an upload have been handed to the network. */
export type UploadProgress = (sent: number, total: number) => void;

const UPLOAD_CHUNK_BYTES = 64 * 1024;

export class Client {
  readonly target: Target;

  constructor(target: Target) {
    this.target = target;
  }

  /** Who the key belongs to. */
  whoAmI(): Promise<z.infer<typeof api.WhoAmI>> {
    return this.#json(api.WhoAmI, '/whoami');
  }

  async hasArtifact(digest: string): Promise<boolean> {
    const response = await this.request(`/artifacts/${digest}`, { method: 'HEAD' });
    // An answer to HEAD has no body that would say what is wrong; that to the upload has one.
    if (response.status === 404 || response.status >= 500) return false;
    if (!response.ok) throw await this.failure(response);
    return true;
  }

  async putArtifact(digest: string, archive: Uint8Array, progress: UploadProgress): Promise<void> {
    const response = await this.request(`/artifacts/${digest}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/gzip', 'content-length': String(archive.length) },
      body: chunks(archive, progress),
    });
    if (!response.ok) throw await this.failure(response);
    await response.arrayBuffer();
  }

  deploy(
    namespace: string,
    name: string,
    body: z.input<typeof api.DeployRequest>,
  ): Promise<api.DeployResult> {
    return this.#json(api.DeployResult, `${functionPath(namespace, name)}/versions`, {
      method: 'POST',
      json: body,
    });
  }

  /** The functions of a namespace, or of all that the key may read. */
  async list(namespace?: string): Promise<api.FunctionView[]> {
    const below = namespace === undefined ? '' : `/${encodeURIComponent(namespace)}`;
    const answer = await this.#json(z.object({ functions: z.array(api.FunctionView) }), `/functions${below}`);
    return answer.functions;
  }

  describe(namespace: string, name: string): Promise<api.FunctionDetail> {
    return this.#json(api.FunctionDetail, functionPath(namespace, name));
  }

  remove(namespace: string, name: string): Promise<void> {
    return this.#nothing(functionPath(namespace, name), 'DELETE');
  }

  invocation(id: string): Promise<api.AnyInvocationDetail> {
    return this.#json(api.AnyInvocationDetail, invocationPath(id));
  }

  /** All invocations of a trace, and their spans. */
  trace(traceId: string): Promise<WholeTrace> {
    return this.#json(WholeTrace, `/traces/${encodeURIComponent(traceId)}`);
  }

  async invocations(filter: Readonly<Record<string, string>>): Promise<AnyInvocation[]> {
    const answer = await this.#json(
      api.InvocationList,
      `/invocations?${new URLSearchParams(filter).toString()}`,
    );
    return answer.invocations;
  }

  /** Workers that are alive. */
  async workers(): Promise<api.WorkerStatus[]> {
    return (await this.#json(z.object({ workers: z.array(api.WorkerStatus) }), '/workers')).workers;
  }

  /** Queues an event, which is JSON. */
  enqueue(
    namespace: string,
    name: string,
    event: Uint8Array<ArrayBuffer>,
    headers: Record<string, string>,
  ): Promise<api.Accepted> {
    const all = { ...headers, 'content-type': 'application/json' };
    return this.#json(api.Accepted, `${functionPath(namespace, name)}/invocations`, {
      method: 'POST',
      body: event,
      headers: all,
    });
  }

  cancel(id: string): Promise<AnyInvocation> {
    return this.#json(AnyInvocation, `${invocationPath(id)}/cancel`, { method: 'POST' });
  }

  replay(id: string, body: api.ReplayRequest): Promise<api.Accepted> {
    return this.#json(api.Accepted, `${invocationPath(id)}/replay`, { method: 'POST', json: body });
  }

  /** What the function answered, with its own status. */
  async result(id: string): Promise<Response> {
    const response = await this.request(`${invocationPath(id)}/result`);
    if (!response.ok && !response.headers.has(INVOCATION_HEADER)) throw await this.failure(response);
    return response;
  }

  async schedules(namespace: string): Promise<api.ScheduleView[]> {
    return (await this.#json(api.Schedules, `/schedules/${encodeURIComponent(namespace)}`)).schedules;
  }

  callbackSecret(namespace: string): Promise<CallbackSecrets> {
    return this.#json(CallbackSecrets, callbackSecretPath(namespace));
  }

  rotateCallbackSecret(namespace: string): Promise<CallbackSecrets> {
    return this.#json(CallbackSecrets, `${callbackSecretPath(namespace)}/rotate`, { method: 'POST' });
  }

  limits(namespace: string): Promise<NamespaceLimits> {
    return this.#json(NamespaceLimits, limitsPath(namespace));
  }

  setLimits(namespace: string, limits: NamespaceLimits): Promise<NamespaceLimits> {
    return this.#json(NamespaceLimits, limitsPath(namespace), { method: 'PUT', json: limits });
  }

  async deadLetters(
    namespace: string,
    filter: Readonly<Record<string, string>>,
  ): Promise<InvocationRecord[]> {
    const query = new URLSearchParams(filter).toString();
    return (await this.#json(api.DeadLetters, `${deadLetterPath(namespace)}?${query}`)).deadLetters;
  }

  /** Moves all that are chosen, by as many requests as it takes. */
  async moveDeadLetters(
    namespace: string,
    action: 'redrive' | 'purge',
    choice: z.infer<typeof api.DeadLetterChoice>,
  ): Promise<string[]> {
    const path = `${deadLetterPath(namespace)}/${action}`;
    const all: string[] = [];
    for (let { until } = choice; ;) {
      const from = until ?? Infinity;
      const json = { ...choice, until };
      const moved = await this.#json(api.DeadLettersMoved, path, { method: 'POST', json });
      all.push(...moved.ids);
      ({ until } = moved);
      // None was moved, and there is no way past them.
      if (until === undefined || (moved.ids.length === 0 && until >= from)) return all;
    }
  }

  /** A batch without items yet. */
  async openBatch(namespace: string, name: string): Promise<Batch> {
    const path = `${functionPath(namespace, name)}/batches?open=1`;
    return (await this.#json(ItemsTaken, path, { method: 'POST' })).batch;
  }

  /** Resolves when the batch has all that the body holds. */
  sendItems(id: string, body: ReadableStream<Uint8Array>, type: string): Promise<ItemsTaken> {
    const headers = { 'content-type': type };
    return this.#json(ItemsTaken, `${batchPath(id)}/items`, { method: 'POST', body, headers });
  }

  sealBatch(id: string): Promise<Batch> {
    return this.#json(Batch, `${batchPath(id)}/seal`, { method: 'POST' });
  }

  cancelBatch(id: string): Promise<Batch> {
    return this.#json(Batch, `${batchPath(id)}/cancel`, { method: 'POST' });
  }

  batch(id: string): Promise<Batch> {
    return this.#json(Batch, batchPath(id));
  }

  async batches(namespace: string): Promise<Batch[]> {
    return (await this.#json(BatchList, `/batches?namespace=${encodeURIComponent(namespace)}`)).batches;
  }

  /** Lines of ItemResult. */
  async batchResults(
    id: string,
    { order, wait }: { order: 'input' | 'completed'; wait: boolean },
  ): Promise<Response> {
    const response = await this.request(`${batchPath(id)}/results?order=${order}&wait=${wait ? 1 : 0}`);
    if (!response.ok) throw await this.failure(response);
    return response;
  }

  async keys(): Promise<api.ApiKeyRecord[]> {
    return (await this.#json(z.object({ keys: z.array(api.ApiKeyRecord) }), '/keys')).keys;
  }

  createKey(body: z.infer<typeof api.CreateKeyRequest>): Promise<z.infer<typeof api.CreatedKey>> {
    return this.#json(api.CreatedKey, '/keys', { method: 'POST', json: body });
  }

  removeKey(id: string): Promise<void> {
    return this.#nothing(`/keys/${encodeURIComponent(id)}`, 'DELETE');
  }

  /** A request below /api/v1, with the key; only the failure to get any answer throws. */
  request(path: string, options: RequestOptions = {}): Promise<Response> {
    return this.fetch(`/api/v1${path}`, options);
  }

  /** A request of the gateway, with the key unless told otherwise; only the failure to get any answer throws. */
  async fetch(path: string, options: RequestOptions = {}): Promise<Response> {
    const key = options.withoutKey ? undefined : this.target.key;
    const headers = checkedHeaders({
      ...options.headers,
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
    });
    if (options.json !== undefined) headers.set('content-type', 'application/json');
    const body = options.json === undefined ? options.body : JSON.stringify(options.json);
    try {
      return await fetch(`${this.target.url}${path}`, {
        method: options.method ?? 'GET',
        headers,
        redirect: 'manual',
        ...(body !== undefined && { body }),
        ...(body instanceof ReadableStream && { duplex: 'half' }),
        ...(options.signal && { signal: options.signal }),
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw unreachable(this.target.url, error);
    }
  }

  /** The error that a refused request stands for. */
  async failure(response: Response): Promise<CliError> {
    const text = await response.text().catch(() => '');
    const body = ErrorBody.safeParse(parseJson(text));
    const remedy = response.status === 401 ? remedyOfRefusal(this.target) : undefined;
    const kind = response.status === 401 || response.status === 403 ? 'forbidden' : 'failed';
    if (body.success) {
      const { code, message, next, details } = body.data.error;
      return new CliError(kind, message, { code, next, details, ...remedy });
    }
    const what = `${this.target.url} answered ${response.status} ${response.statusText}`.trim();
    // A HEAD has no body that could say more.
    if (kind === 'forbidden') {
      return new CliError(kind, `${what}: the key was not accepted`, { next: 'offshoot login', ...remedy });
    }
    return new CliError(kind, `${what}, which is not how a gateway answers`, {
      code: 'bad_answer',
      next: `see what serves that URL: curl -i ${this.target.url}/api/v1/openapi.json`,
    });
  }

  async #json<T>(schema: z.ZodType<T>, path: string, options: RequestOptions = {}): Promise<T> {
    const response = await this.request(path, options);
    if (!response.ok) throw await this.failure(response);
    const text = await response.text();
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    throw new CliError('failed', `the gateway's answer to ${path} is not what this version expects`, {
      code: 'bad_answer',
      lines: parsed.error.issues.slice(0, 5).map((issue) => `${issue.path.join('.')}: ${issue.message}`),
      next: 'use the same version on both sides: offshoot --version',
    });
  }

  async #nothing(path: string, method: string): Promise<void> {
    const response = await this.request(path, { method });
    if (!response.ok) throw await this.failure(response);
    await response.arrayBuffer();
  }
}

/** URL of a function for people: the gateway gives a path, since it does not know under which address it is reached. */
export function functionUrl(view: { readonly url: string }, gatewayUrl: string): string {
  return view.url.startsWith('/') ? `${gatewayUrl}${view.url}` : view.url;
}

/** Path of a function below /api/v1. */
export function functionPath(namespace: string, name: string): string {
  return `/functions/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}

function invocationPath(id: string): string {
  return `/invocations/${encodeURIComponent(id)}`;
}

function batchPath(id: string): string {
  return `/batches/${encodeURIComponent(id)}`;
}

function callbackSecretPath(namespace: string): string {
  return `/callbacks/${encodeURIComponent(namespace)}/secret`;
}

function limitsPath(namespace: string): string {
  return `/namespaces/${encodeURIComponent(namespace)}/limits`;
}

function deadLetterPath(namespace: string): string {
  return `/dead-letters/${encodeURIComponent(namespace)}`;
}

/** `name` or `namespace/name`, as people write them. */
export function parseFunctionName(text: string, namespace: string): { namespace: string; name: string } {
  const slash = text.indexOf('/');
  return slash < 0
    ? { namespace, name: text }
    : { namespace: text.slice(0, slash), name: text.slice(slash + 1) };
}

/** Some come from the command line as they are, and HTTP does not carry every character. */
function checkedHeaders(given: Readonly<Record<string, string>>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(given)) {
    try {
      headers.set(name, value);
    } catch (error) {
      const shown = name === 'authorization' ? 'the key' : `"${value}"`;
      throw new CliError(
        'usage',
        `${shown} cannot be sent as the header ${name}: no line ends, nothing beyond Latin-1`,
        {
          code: 'bad_usage',
          next: name === 'authorization' ? 'offshoot login' : 'offshoot help',
          cause: error,
        },
      );
    }
  }
  return headers;
}

function unreachable(url: string, error: unknown): CliError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const local = url === DEFAULT_URL;
  return new CliError('unreachable', `no gateway answers at ${url}: ${messageOf(cause) || 'no connection'}`, {
    next: local
      ? 'start the platform: npm start (in its checkout), or: offshoot dev'
      : 'correct the URL: offshoot login --url URL',
    cause: error,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The archive as a stream, piece by piece, so that progress can be seen. */
function chunks(archive: Uint8Array, progress: UploadProgress): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      const end = Math.min(at + UPLOAD_CHUNK_BYTES, archive.length);
      controller.enqueue(archive.subarray(at, end));
      at = end;
      progress(at, archive.length);
      if (at === archive.length) controller.close();
    },
  });
}
