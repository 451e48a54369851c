/** How the gateway takes batches in, over a real Redis and without a worker, so queued items stay queued. */
import { once } from 'node:events';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Batch, ItemsTaken } from '#contract/invocations/batch.ts';
import { WINDOW_GROUPS } from '#contract/functions/limits.ts';
import { Queues } from '#storage/queued/jobs.ts';
import {
  PrivateRedis,
  send,
  startGateway,
  waitFor,
  type TestGateway,
} from '../../../support/gateway/fixture.ts';

let redis: PrivateRedis;
let gateway: TestGateway;
async function start(env: Record<string, string> = {}): Promise<void> {
  redis = await PrivateRedis.start(['--appendonly', 'yes', '--appendfsync', 'always']);
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

  test('an upload fails while Redis goes away, names its batch and number of items, and nothing else ends', async () => {
    await start();
    for (let round = 0; round < 3; round++) {
      const id = await openBatch();
      const { upload, answer } = sending(`/batches/${id}/items`);
      upload.write(lines(200));
      await waitFor(async () => (await look(id)).groups > 20);
      await redis.kill();
      upload.end();
      const told = await answer;
      expect(told).toMatchObject({
        status: 503,
        error: { code: 'redis_unavailable', details: { batch: id } },
      });
      await redis.resume();
      await waitFor(async () => (await send(gateway, '/healthz')).status === 200);
      await waitFor(async () => (await look(id)).groups > 0);
      // The item that was on its way may be there or not.
      const { items } = await look(id);
      const taken = told.error?.details?.taken ?? 0;
      expect(items - taken).toBeGreaterThanOrEqual(0);
      expect(items - taken).toBeLessThanOrEqual(1);
    }
    expect(unhandled).toEqual([]);
  });
});

/** Uploads of one item each, `count` of them at the same time. */
function many(count: number, id: string): { answers: Promise<Answer>[]; answered: () => number } {
  let answered = 0;
  const answers = Array.from({ length: count }, async () => {
    const { upload, answer } = sending(`/batches/${id}/items`);
    upload.end(lines(1));
    return await answer.finally(() => answered++);
  });
  return { answers, answered: () => answered };
}

describe('bounds on waiting items', () => {
  test.each([
    ['of the batch', WINDOW_GROUPS, {}],
    ['of the namespace', 10, { OFFSHOOT_MAX_QUEUED: '10' }],
  ])('waiting items have a bound %s, however many clients send', async (_, most, env) => {
    await start(env);
    const id = await openBatch();
    const { answers, answered } = many(most + 40, id);
    await waitFor(() => answered() >= most, 20_000);
    // The other uploads still wait, and the seal ends them with 409.
    await post(`/batches/${id}/seal`);
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect([202, 409].map((status) => statuses.filter((one) => one === status).length)).toEqual([most, 40]);
    expect(await look(id)).toMatchObject({ groups: most, items: most });
  });

  test('a batch is refused while as many invocations wait as are allowed', async () => {
    await start({ OFFSHOOT_MAX_QUEUED: '5' });
    expect((await post('/functions/default/each/batches', lines(5))).status).toBe(202);
    await waitFor(async () => (await post('/functions/default/each/batches', lines(1))).status === 503);
    expect(await post('/functions/default/each/batches?open=1')).toMatchObject({
      error: { code: 'queue_full' },
    });
  });
});

describe('a client that sends a batch', () => {
  test('an upload ends at once when its batch is sealed, also while no bytes come', async () => {
    await start();
    const id = await openBatch();
    const { upload, answer } = sending(`/batches/${id}/items`);
    upload.write(lines(1));
    await waitFor(async () => (await look(id)).groups === 1);
    await post(`/batches/${id}/seal`);
    // The body does not end.
    upload.write(lines(1));
    expect(await answer).toMatchObject({ status: 409, error: { details: { taken: 1, batch: id } } });
  });

  test('an upload whose batch is sealed meanwhile gets the number of items that were taken', async () => {
    await start({ OFFSHOOT_MAX_QUEUED: '5' });
    const id = await openBatch();
    const { upload, answer } = sending(`/batches/${id}/items`);
    upload.end(lines(8));
    await waitFor(async () => (await look(id)).groups === 5);
    await post(`/batches/${id}/seal`);
    expect(await answer).toMatchObject({ status: 409, error: { details: { taken: 5 } } });
  });

  test('an upload whose client has disconnected stops waiting, and adds no items later', async () => {
    await start({ OFFSHOOT_MAX_QUEUED: '3' });
    const id = await openBatch();
    const { upload, answer } = sending(`/batches/${id}/items`);
    answer.catch(() => undefined); // there will be no answer
    upload.end(lines(8));
    await waitFor(async () => (await look(id)).groups === 3);
    upload.destroy();
    // The upload asks for a place again and again, and then no more.
    await waitFor(async () => {
      const before = await scriptsRun();
      await sleep(100);
      return (await scriptsRun()) === before;
    });
    await new Queues(gateway.commands).of('default').drain();
    expect((await post(`/batches/${id}/items`, lines(1))).status).toBe(202);
    expect(await look(id)).toMatchObject({ groups: 4, items: 4 });
  });
});

describe('items', () => {
  test.each([
    [
      'lines',
      LINES,
      Buffer.concat([Buffer.from('{"a":1}\n"'), Buffer.from([0xff, 0xfe]), Buffer.from('"\n')]),
    ],
    [
      'an array',
      'application/json',
      Buffer.concat([Buffer.from('[1,"'), Buffer.from([0xff]), Buffer.from('"]')]),
    ],
  ])('items that are no UTF-8 are refused and not replaced: %s', async (_, type, body) => {
    await start();
    expect(await post('/functions/default/each/batches', body, type)).toMatchObject({
      status: 400,
      error: { code: 'bad_item', details: { taken: 1 } },
    });
  });

  test('items in an encoding whose separators would be part of them are refused', async () => {
    await start();
    const body = '\u001e{"a":1}\n\u001e{"a":2}\n';
    expect(await post('/functions/default/each/batches', body, 'application/json-seq')).toMatchObject({
      status: 400,
      error: { code: 'bad_request' },
    });
  });
});

async function scriptsRun(): Promise<string | undefined> {
  return /cmdstat_evalsha:calls=(\d+)/.exec(await gateway.commands.info('commandstats'))?.[1];
}
