/** A gateway in this process with a Redis of its own and a worker whose answers the test decides. */
import { expect } from 'vitest';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { packArchive } from '../platform/archive.ts';
import { FakeWorker, type FakeCall, type FakeHandler } from './fake-worker.ts';
import { PrivateRedis, send, startGateway, type RawResponse, type TestGateway } from './fixture.ts';

export interface ApiOptions {
  readonly method?: string;
  readonly key?: string;
  readonly json?: unknown;
  readonly body?: Uint8Array;
  readonly headers?: Record<string, string>;
}

export class GatewayBench {
  readonly redis: PrivateRedis;
  readonly gateway: TestGateway;
  readonly worker: FakeWorker;
  /** Handler of the worker's calls; each test starts with the usual one again. */
  handler: FakeHandler;
  readonly #usual: FakeHandler;
  #call: FakeCall | undefined;

  private constructor(redis: PrivateRedis, gateway: TestGateway, usual: FakeHandler) {
    this.redis = redis;
    this.gateway = gateway;
    this.handler = usual;
    this.#usual = usual;
    this.worker = new FakeWorker(redis.url, 'w1', (one) => {
      this.#call = one;
      this.handler(one);
    });
  }

  static async start(usual: FakeHandler, env: Record<string, string> = {}): Promise<GatewayBench> {
    const redis = await PrivateRedis.start();
    const bench = new GatewayBench(redis, await startGateway(redis, { env }), usual);
    // Before the worker, which at its start asks for the namespaces to listen for.
    await bench.gateway.functions.addNamespace('default');
    await bench.worker.start();
    return bench;
  }

  /** Between two tests. */
  reset(): void {
    this.handler = this.#usual;
    this.#call = undefined;
  }

  async stop(): Promise<void> {
    await this.worker.stop();
    await this.gateway.close();
    await this.redis.stop();
  }

  /** The last call that the worker has got. */
  get call(): FakeCall {
    return this.#call ?? expect.fail('the worker has got no call');
  }

  /** Values of a header of that call. */
  headersOf(name: string): string[] {
    return this.call.meta.headers.filter(([one]) => one === name).map(([, value]) => value);
  }

  async api(path: string, options: ApiOptions = {}): Promise<RawResponse> {
    const { json, body, method = json === undefined ? 'GET' : 'POST' } = options;
    const sent = json === undefined ? body : JSON.stringify(json);
    return await send(this.gateway, `/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${options.key ?? this.gateway.key}`,
        ...(json !== undefined && { 'content-type': 'application/json' }),
        ...(sent !== undefined && { 'content-length': String(Buffer.byteLength(sent)) }),
        ...options.headers,
      },
      ...(sent !== undefined && { body: sent }),
    });
  }

  async newKey(namespace: string, scopes: string[]): Promise<ApiKeyRecord & { key: string }> {
    const made = await this.api('/keys', { json: { namespace, scopes } });
    return made.json() as ApiKeyRecord & { key: string };
  }

  async upload(files: Record<string, string>, key = this.gateway.key): Promise<string> {
    const { digest, bytes } = await packArchive(files);
    const response = await this.api(`/artifacts/${digest}`, { method: 'PUT', body: bytes, key });
    expect([200, 201]).toContain(response.status);
    return digest;
  }

  async deploy(
    name: string,
    options: { namespace?: string; key?: string; manifest?: object } = {},
  ): Promise<RawResponse> {
    const { namespace = 'default', key = this.gateway.key, manifest = { name } } = options;
    const digest = await this.upload({ 'index.mjs': `export default '${name}'` });
    return await this.api(`/functions/${namespace}/${name}/versions`, {
      key,
      json: { digest, entryFile: 'index.mjs', manifest },
    });
  }
}

/** The error of a response: its status and its code. */
export function problemOf(response: RawResponse): [number, string | undefined] {
  return [response.status, (response.json() as { error?: { code: string } }).error?.code];
}
