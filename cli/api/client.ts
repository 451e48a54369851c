/** Typed calls of the management API. */
import { z } from 'zod';
import * as api from '#contract/api/api.ts';
import { INVOCATION_HEADER } from '#contract/api/headers.ts';
import { NamespaceLimits } from '#contract/functions/quota.ts';
import { Batch, BatchList, ItemsTaken } from '#contract/invocations/batch.ts';
import { CallbackSecrets } from '#contract/invocations/callback.ts';
import { AnyInvocation, type InvocationRecord } from '#contract/invocations/invocation.ts';
import { WholeTrace } from '#contract/invocations/whole-trace.ts';
import { Gateway } from './gateway.ts';
import {
  batchPath,
  callbackSecretPath,
  deadLetterPath,
  functionPath,
  invocationPath,
  limitsPath,
} from './paths.ts';

/** Reports how many bytes of an upload have been handed to the network. */
export type UploadProgress = (sent: number, total: number) => void;

const UPLOAD_CHUNK_BYTES = 64 * 1024;

export class Client extends Gateway {
  /** Namespace and scopes of the key. */
  whoAmI(): Promise<z.infer<typeof api.WhoAmI>> {
    return this.json(api.WhoAmI, '/whoami');
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
    return this.json(api.DeployResult, `${functionPath(namespace, name)}/versions`, {
      method: 'POST',
      json: body,
    });
  }

  /** The functions of a namespace, or of all that the key may read. */
  async list(namespace?: string): Promise<api.FunctionView[]> {
    const below = namespace === undefined ? '' : `/${encodeURIComponent(namespace)}`;
    const answer = await this.json(z.object({ functions: z.array(api.FunctionView) }), `/functions${below}`);
    return answer.functions;
  }

  describe(namespace: string, name: string): Promise<api.FunctionDetail> {
    return this.json(api.FunctionDetail, functionPath(namespace, name));
  }

  remove(namespace: string, name: string): Promise<void> {
    return this.nothing(functionPath(namespace, name), 'DELETE');
  }

  invocation(id: string): Promise<api.AnyInvocationDetail> {
    return this.json(api.AnyInvocationDetail, invocationPath(id));
  }

  /** All invocations of a trace, and their spans. */
  trace(traceId: string): Promise<WholeTrace> {
    return this.json(WholeTrace, `/traces/${encodeURIComponent(traceId)}`);
  }

  async invocations(filter: Readonly<Record<string, string>>): Promise<AnyInvocation[]> {
    const answer = await this.json(
      api.InvocationList,
      `/invocations?${new URLSearchParams(filter).toString()}`,
    );
    return answer.invocations;
  }

  /** Workers that are alive. */
  async workers(): Promise<api.WorkerStatus[]> {
    return (await this.json(z.object({ workers: z.array(api.WorkerStatus) }), '/workers')).workers;
  }

  /** Queues an event, which is JSON. */
  enqueue(
    namespace: string,
    name: string,
    event: Uint8Array<ArrayBuffer>,
    headers: Record<string, string>,
  ): Promise<api.Accepted> {
    const all = { ...headers, 'content-type': 'application/json' };
    return this.json(api.Accepted, `${functionPath(namespace, name)}/invocations`, {
      method: 'POST',
      body: event,
      headers: all,
    });
  }

  cancel(id: string): Promise<AnyInvocation> {
    return this.json(AnyInvocation, `${invocationPath(id)}/cancel`, { method: 'POST' });
  }

  replay(id: string, body: api.ReplayRequest): Promise<api.Accepted> {
    return this.json(api.Accepted, `${invocationPath(id)}/replay`, { method: 'POST', json: body });
  }

  /** The function's answer, with its own status. */
  async result(id: string): Promise<Response> {
    const response = await this.request(`${invocationPath(id)}/result`);
    if (!response.ok && !response.headers.has(INVOCATION_HEADER)) throw await this.failure(response);
    return response;
  }

  async schedules(namespace: string): Promise<api.ScheduleView[]> {
    return (await this.json(api.Schedules, `/schedules/${encodeURIComponent(namespace)}`)).schedules;
  }

  callbackSecret(namespace: string): Promise<CallbackSecrets> {
    return this.json(CallbackSecrets, callbackSecretPath(namespace));
  }

  rotateCallbackSecret(namespace: string): Promise<CallbackSecrets> {
    return this.json(CallbackSecrets, `${callbackSecretPath(namespace)}/rotate`, { method: 'POST' });
  }

  limits(namespace: string): Promise<NamespaceLimits> {
    return this.json(NamespaceLimits, limitsPath(namespace));
  }

  setLimits(namespace: string, limits: NamespaceLimits): Promise<NamespaceLimits> {
    return this.json(NamespaceLimits, limitsPath(namespace), { method: 'PUT', json: limits });
  }

  async deadLetters(
    namespace: string,
    filter: Readonly<Record<string, string>>,
  ): Promise<InvocationRecord[]> {
    const query = new URLSearchParams(filter).toString();
    return (await this.json(api.DeadLetters, `${deadLetterPath(namespace)}?${query}`)).deadLetters;
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
      const moved = await this.json(api.DeadLettersMoved, path, { method: 'POST', json });
      all.push(...moved.ids);
      ({ until } = moved);
      // None was moved, and there is no way past them.
      if (until === undefined || (moved.ids.length === 0 && until >= from)) return all;
    }
  }

  /** A batch without items yet. */
  async openBatch(namespace: string, name: string): Promise<Batch> {
    const path = `${functionPath(namespace, name)}/batches?open=1`;
    return (await this.json(ItemsTaken, path, { method: 'POST' })).batch;
  }

  /** Resolves when the batch has all that the body holds. */
  sendItems(id: string, body: ReadableStream<Uint8Array>, type: string): Promise<ItemsTaken> {
    const headers = { 'content-type': type };
    return this.json(ItemsTaken, `${batchPath(id)}/items`, { method: 'POST', body, headers });
  }

  sealBatch(id: string): Promise<Batch> {
    return this.json(Batch, `${batchPath(id)}/seal`, { method: 'POST' });
  }

  cancelBatch(id: string): Promise<Batch> {
    return this.json(Batch, `${batchPath(id)}/cancel`, { method: 'POST' });
  }

  batch(id: string): Promise<Batch> {
    return this.json(Batch, batchPath(id));
  }

  async batches(namespace: string): Promise<Batch[]> {
    return (await this.json(BatchList, `/batches?namespace=${encodeURIComponent(namespace)}`)).batches;
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
    return (await this.json(z.object({ keys: z.array(api.ApiKeyRecord) }), '/keys')).keys;
  }

  createKey(body: z.infer<typeof api.CreateKeyRequest>): Promise<z.infer<typeof api.CreatedKey>> {
    return this.json(api.CreatedKey, '/keys', { method: 'POST', json: body });
  }

  removeKey(id: string): Promise<void> {
    return this.nothing(`/keys/${encodeURIComponent(id)}`, 'DELETE');
  }
}

/** URL of a function for people: the gateway gives a path, since it does not know under which address it is reached. */
export function functionUrl(view: { readonly url: string }, gatewayUrl: string): string {
  return view.url.startsWith('/') ? `${gatewayUrl}${view.url}` : view.url;
}

/** `name` or `namespace/name`, as people write them. */
export function parseFunctionName(text: string, namespace: string): { namespace: string; name: string } {
  const slash = text.indexOf('/');
  return slash < 0
    ? { namespace, name: text }
    : { namespace: text.slice(0, slash), name: text.slice(slash + 1) };
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
