/** How the gateway takes batches in, over a real Redis and without a worker: what was queued stays queued. */
import { once } from 'node:events';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Batch, ItemsTaken } from '#contract/batch.ts';
import { PrivateRedis, send, startGateway, waitFor, type TestGateway } from './gateway-fixture.ts';

let redis: PrivateRedis;
let gateway: TestGateway;
async function start(env: Record<string, string> = {}): Promise<void> {
  redis = await PrivateRedis.start(['--appendonly', 'yes']);
  gateway = await startGateway(redis, { env });
  await gateway.add('each', { batch: { size: 1 } });
}
afterEach(async () => {
  await gateway.close();
  await redis.stop();
});

const LINES = 'application/x-ndjson';

interface Answer {
  readonly status: number;
  readonly taken?: number;
  readonly batch?: Batch;
  readonly error?: { code: string; details?: { taken?: number; batch?: string } };
}

function headers(type = LINES): Record<string, string> {
  return { authorization: `Bearer ${gateway.key}`, 'content-type': type };
}

async function post(path: string, body: string | Buffer = '', type?: string): Promise<Answer> {
  const options = { method: 'POST', headers: headers(type), body };
  const answer = await send(gateway, `/api/v1${path}`, options);
  return { status: answer.status, ...(answer.json() as object) };
}

async function look(id: string): Promise<Batch> {
  return (await send(gateway, `/api/v1/batches/${id}`, { headers: headers() })).json() as Batch;
}

async function openBatch(): Promise<string> {
  const { batch } = (await post('/functions/default/each/batches?open=1')) as unknown as ItemsTaken;
  return batch.id;
}

/** A body that is sent piece by piece. */
function sending(path: string): { upload: ClientRequest; answer: Promise<Answer> } {
  const { port } = gateway;
  const upload = request({ port, path: `/api/v1${path}`, method: 'POST', headers: headers(), agent: false });
  upload.on('error', () => undefined);
  const answer = (async (): Promise<Answer> => {
    const [response] = (await once(upload, 'response')) as [IncomingMessage];
    const text = Buffer.concat(await response.toArray()).toString();
    return { status: response.statusCode ?? 0, ...(JSON.parse(text) as object) };
  })();
  return { upload, answer };
}

const lines = (count: number): string => '{"n":1}\n'.repeat(count);

describe('while Redis goes away', () => {
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  beforeEach(() => {
    unhandled.length = 0;
    process.on('unhandledRejection', note);
  });
  afterEach(() => void process.off('unhandledRejection', note));

  test('an upload fails, and nothing else', async () => {
    await start();
    for (let round = 0; round < 3; round++) {
      const id = await openBatch();
      const { upload, answer } = sending(`/batches/${id}/items`);
      upload.write(lines(200));
      await waitFor(async () => (await look(id)).groups > 20);
      await redis.kill();
      upload.end();
      expect(await answer).toMatchObject({ status: 503, error: { code: 'redis_unavailable' } });
      await redis.resume();
      await waitFor(async () => (await send(gateway, '/healthz')).status === 200);
      await waitFor(async () => (await look(id)).groups > 0);
    }
    expect(unhandled).toEqual([]);
  });
});
