/** Answers to callers when a worker dies, when there is none, and when Redis goes away: quick and true. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { request, type ServerResponse } from 'node:http';
import { createConnection } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { InvocationDetail } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import { WORKER_HEARTBEAT_MS, WORKER_TTL_MS } from '#contract/functions/limits.ts';
import { Stopwatch } from '../../../support/platform/stopwatch.ts';
import { FakeWorker, type FakeCall, type FakeHandler } from '../../../support/gateway/fake-worker.ts';
import {
  freePort,
  PrivateRedis,
  QUIET,
  send,
  startGateway,
  waitFor,
  type RawResponse,
  type TestGateway,
} from '../../../support/gateway/fixture.ts';

/** Upper bound, in milliseconds, on the time until a caller learns that its worker has died. */
const TOLD_WITHIN_MS = 2_000;

let redis: PrivateRedis;
let gateway: TestGateway;
const workers: FakeWorker[] = [];

beforeAll(async () => {
  redis = await PrivateRedis.start(['--appendonly', 'yes']);
  gateway = await startGateway(redis, { env: { OFFSHOOT_QUEUE_TIMEOUT_MS: '1500' } });
  await gateway.add('fn', { timeout: 0.5, initTimeout: 0.5 });
  await gateway.add('slow', { timeout: 60 });
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  await gateway.commands.del(keys.lane('default'));
});
afterAll(async () => {
  await gateway.close();
  await redis.stop();
});

const silent: FakeHandler = () => undefined;

async function startWorker(id: string, handler: FakeHandler): Promise<FakeWorker> {
  const made = new FakeWorker(redis.url, id, handler);
  workers.push(made);
  await made.start();
  return made;
}

async function timed(name = 'slow'): Promise<{ response: RawResponse; took: number }> {
  const before = performance.now();
  const response = await send(gateway, `/fn/default/${name}`);
  return { response, took: performance.now() - before };
}

const queued = (): Promise<number> => gateway.commands.llen(keys.lane('default'));

/** Calls that this worker has, as the gateway was told: a word of this double that is late or lost is not said again. */
async function takenBy({ id }: FakeWorker): Promise<number> {
  const path = '/api/v1/invocations?state=running';
  const answer = await send(gateway, path, { headers: { 'x-api-key': gateway.key } });
  const { invocations } = answer.json() as { invocations: { worker?: string }[] };
  return invocations.filter(({ worker }) => worker === id).length;
}

async function record(response: RawResponse): Promise<InvocationDetail> {
  let found: RawResponse | undefined;
  await waitFor(async () => {
    const path = `/api/v1/invocations/${String(response.headers['x-offshoot-invocation'])}`;
    found = await send(gateway, path, { headers: { 'x-api-key': gateway.key } });
    return found.status === 200 && (found.json() as { state: string }).state === 'done';
  });
  return found?.json() as InvocationDetail;
}

describe('a worker dies', () => {
  test('a call that a dead worker had announced fails as worker_lost', async () => {
    const dying = await startWorker('dies-1', silent);
    const calling = timed();
    await waitFor(() => dying.calls.size === 1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const died = Stopwatch.start();
    await dying.die();
    const { response } = await calling;
    expect(response.status).toBe(502);
    expect(response.json()).toMatchObject({
      error: { code: 'worker_lost', message: expect.stringContaining('dies-1') as string },
    });
    expect(died.stop()).toBeLessThan(TOLD_WITHIN_MS);
    expect(await record(response)).toMatchObject({ outcome: 'worker_lost', status: 502 });
  });

  test('a call that a worker took just before its death and never announced fails as worker_lost', async () => {
    let died = 0;
    const dying = await startWorker('dies-2', () => {
      died = performance.now();
      void dying.die();
    });
    const living = await startWorker('lives-2', silent);
    // Either worker may get it; calls are repeated until the dying one does.
    let response: RawResponse;
    do {
      const calling = timed();
      await waitFor(() => died > 0 || living.calls.size > 0);
      for (const call of living.calls.values()) call.result({ status: 200, headers: [] });
      ({ response } = await calling);
    } while (response.status === 200);
    expect(response.json()).toMatchObject({ error: { code: 'worker_lost' } });
    expect(performance.now() - died).toBeLessThan(TOLD_WITHIN_MS);
  });

  test('a worker’s death does not touch calls that wait in the lane or run elsewhere', async () => {
    const answered: FakeCall[] = [];
    const other = await startWorker('lives-3', (call) => answered.push(call));
    const dying = await startWorker('dies-3', silent);
    const calls = Array.from({ length: 20 }, () => timed());
    await waitFor(() => answered.length + dying.calls.size === 20);
    const lost = dying.calls.size;
    await waitFor(async () => (await takenBy(other)) === answered.length);
    await dying.die();
    await new Promise((resolve) => setTimeout(resolve, TOLD_WITHIN_MS));
    for (const call of answered) call.result({ status: 200, headers: [] });
    const statuses = (await Promise.all(calls)).map(({ response }) => response.status);
    expect(statuses.filter((status) => status === 502)).toHaveLength(lost);
    expect(statuses.filter((status) => status === 200)).toHaveLength(20 - lost);
    expect(other.calls.size).toBe(0);
  });

  test('a worker’s death in the middle of a stream cuts the response off', async () => {
    const dying = await startWorker('dies-4', (call) =>
      call.head({ status: 200, headers: [] }, Buffer.from('half')),
    );
    const sent = request({
      host: '127.0.0.1',
      port: gateway.port,
      path: '/fn/default/slow',
      agent: false,
    }).end();
    const body = new Promise<Buffer[]>((resolve, reject) => {
      sent.on('response', (response) => void response.toArray().then(resolve, reject));
    });
    body.catch(() => undefined);
    await waitFor(() => dying.calls.size === 1);
    const died = Stopwatch.start();
    await dying.die();
    await expect(body).rejects.toThrow(/aborted/);
    expect(died.stop()).toBeLessThan(TOLD_WITHIN_MS);
  });
});

describe('no worker', () => {
  test('without any worker, the caller gets an error after a second, and the call never runs', async () => {
    await waitFor(async () => (await send(gateway, '/healthz')).body.includes('"workers":0'));
    const { response, took } = await timed();
    expect(response.status).toBe(503);
    // Nothing else waits; where nothing has been answered lately either, the guess is the time in which a worker
    // starts.
    expect(response.headers['retry-after']).toMatch(/^(?:1|10)$/);
    expect(response.json()).toMatchObject({
      error: {
        code: 'expired',
        message: expect.stringContaining('no worker is running') as string,
        next: expect.stringContaining('offshoot doctor') as string,
      },
    });
    expect(took).toBeGreaterThan(900);
    expect(took).toBeLessThan(1_500);
    expect(await queued()).toBe(0);
  });

  test('a call waits for a worker that starts in time', async () => {
    const calling = timed();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await startWorker('late', (call) => call.result({ status: 200, headers: [] }));
    expect((await calling).response.status).toBe(200);
  });

  test('a call that no worker takes within its queue time is expired, and never runs', async () => {
    await gateway.add('elsewhere', { timeout: 60 }, 'unserved');
    await startWorker('other-lane', silent);
    // A live worker that does not listen on the lane of this namespace.
    await gateway.commands.srem(keys.namespaces(), 'unserved');
    await waitFor(async () => (await queued()) === 0);
    await workers[0]?.stop();
    workers.length = 0;
    const listening = await startWorker('other-lane-2', silent);
    expect(listening.calls.size).toBe(0);
    const before = Stopwatch.start();
    const response = await send(gateway, '/fn/unserved/elsewhere');
    expect(response.json()).toMatchObject({ error: { code: 'expired' } });
    expect(before.stop()).toBeLessThan(2_500);
    expect(await gateway.commands.llen(keys.lane('unserved'))).toBe(0);
  });
});

describe('the deadline', () => {
  test('a call that a worker never answers is a timeout, and the worker gets the order to end it', async () => {
    const mute = await startWorker('mute', silent);
    let call: FakeCall | undefined;
    const calling = timed('fn');
    await waitFor(() => {
      call = [...mute.calls.values()][0];
      return call !== undefined;
    });
    const { response, took } = await calling;
    expect(response.json()).toMatchObject({ error: { code: 'timeout' } });
    expect(response.status).toBe(504);
    expect(took).toBeLessThan(4_000);
    await waitFor(() => call?.cancelled === true);
  });
});

describe('a caller goes away', () => {
  test('a caller who disconnects while its call waits takes it out of the lane', async () => {
    const socket = createConnection(gateway.port, '127.0.0.1');
    socket.write('GET /fn/default/slow HTTP/1.1\r\nHost: a\r\n\r\n');
    await waitFor(async () => (await queued()) === 1);
    socket.destroy();
    await waitFor(async () => (await queued()) === 0, 500);
  });

  test('a caller who disconnects while its call runs has it cancelled at the worker', async () => {
    const running = await startWorker('running', silent);
    const socket = createConnection(gateway.port, '127.0.0.1');
    socket.write('GET /fn/default/slow HTTP/1.1\r\nHost: a\r\n\r\n');
    let call: FakeCall | undefined;
    await waitFor(() => {
      call = [...running.calls.values()][0];
      return call !== undefined;
    });
    // At once, before the worker has announced the call.
    socket.destroy();
    await waitFor(() => call?.cancelled === true, 500);
  });

  test.each([
    ['a function', '/fn/default/unseen', {}],
    ['a key', '/fn/default/slow', { 'x-api-key': 'osk_unseen' }],
    ['a limit', '/fn/default/limited', {}],
  ])(
    'a caller who disconnects while Redis is asked about %s calls nothing',
    async (_about, path, headers) => {
      await gateway.add('unseen');
      await gateway.add('limited', { maxConcurrency: 5 });
      const idle = await startWorker('idle', silent);
      const { pid } = redis;
      if (pid === undefined) throw new Error('no redis');
      const left = new Promise<void>((resolve) => {
        const onStart = (message: unknown): void => {
          unsubscribe('http.server.request.start', onStart);
          (message as { response: ServerResponse }).response.once('close', resolve);
        };
        subscribe('http.server.request.start', onStart);
      });
      process.kill(pid, 'SIGSTOP');
      try {
        const sent = request({ host: '127.0.0.1', port: gateway.port, path, headers, agent: false });
        sent.on('error', () => undefined);
        sent.end();
        await once(sent, 'finish');
        sent.destroy();
        await left;
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      // Later questions to Redis come after this one.
      await gateway.add('later');
      void send(gateway, '/fn/default/later').catch(() => undefined);
      await waitFor(() => [...idle.calls.values()].some(({ header }) => header.name === 'later'));
      expect([...idle.calls.values()].map(({ header }) => header.name)).toEqual(['later']);
    },
  );
});

describe('Redis', () => {
  test('while Redis is away, callers get an error at once, and all is well when it is back', async () => {
    await startWorker('outage', (call) => call.result({ status: 200, headers: [] }));
    expect((await timed()).response.status).toBe(200);
    await redis.kill();
    for (const path of ['/fn/default/slow', '/fn/default/unknown', '/api/v1/functions', '/healthz']) {
      const before = Stopwatch.start();
      const response = await send(gateway, path, { headers: { 'x-api-key': gateway.key } });
      expect([path, response.status]).toEqual([path, 503]);
      if (path !== '/healthz')
        expect(response.json()).toMatchObject({ error: { code: 'redis_unavailable' } });
      expect(before.stop()).toBeLessThan(1_000);
    }
    await redis.resume();
    await waitFor(async () => (await timed()).response.status === 200);
    expect((await send(gateway, '/healthz')).json()).toMatchObject({ status: 'ok', redis: true, workers: 1 });
  });

  test('a gateway that starts without Redis says so, and works as soon as Redis comes', async () => {
    const late = await PrivateRedis.start();
    await late.kill();
    const errors: string[] = [];
    const log = { ...QUIET, error: (_facts: object, message: string) => errors.push(message) };
    const port = await freePort();
    const starting = startGateway(late, { log, env: { OFFSHOOT_PORT: String(port) } });
    await waitFor(async () => (await send({ port }, '/healthz')).status === 503);
    expect((await send({ port }, '/fn/default/x')).json()).toMatchObject({
      error: { code: 'redis_unavailable' },
    });
    expect(errors).toContainEqual(expect.stringContaining('Redis cannot be reached'));
    await late.resume();
    const started = await starting;
    await started.add('fn');
    const hello = new FakeWorker(late.url, 'hello', (call) => call.result({ status: 200, headers: [] }));
    await hello.start();
    await waitFor(async () => (await send(started, '/fn/default/fn')).status === 200);
    const whoami = await send(started, '/api/v1/whoami', { headers: { 'x-api-key': started.key } });
    expect(whoami.status).toBe(200);
    await hello.stop();
    await started.close();
    await late.stop();
  });

  test('a running call is answered as usual when Redis comes back in time', async () => {
    const patient = await startWorker('patient', (call) => {
      setTimeout(() => call.result({ status: 200, headers: [] }, Buffer.from('done')), 2_500);
    });
    const calling = timed();
    await waitFor(async () => (await takenBy(patient)) === 1);
    await redis.kill();
    await new Promise((resolve) => setTimeout(resolve, 700));
    await redis.resume();
    const { response } = await calling;
    expect([response.status, response.body.toString()]).toEqual([200, 'done']);
  });

  test('back after longer than the silence of a worker that is dead: it is heard first', async () => {
    const patient = await startWorker('muted', (call) => {
      setTimeout(() => call.result({ status: 200, headers: [] }, Buffer.from('done')), 5_000);
    });
    const calling = timed();
    await waitFor(async () => (await takenBy(patient)) === 1);
    await redis.kill();
    const speak = patient.muted();
    await new Promise((resolve) => setTimeout(resolve, WORKER_TTL_MS + 500));
    await redis.resume();
    await waitFor(async () => (await send(gateway, '/healthz')).status === 200);
    // As late as a worker may be: the gateway is back before it, and looks several times.
    await new Promise((resolve) => setTimeout(resolve, WORKER_HEARTBEAT_MS + 300));
    await speak();
    const { response } = await calling;
    expect([response.status, response.body.toString()]).toEqual([200, 'done']);
  }, 15_000);

  test('away for long: calls under way are answered', async () => {
    const running = await startWorker('stranded', silent);
    const calling = timed();
    await waitFor(() => running.calls.size === 1);
    await redis.kill();
    const { response, took } = await calling;
    await redis.resume();
    expect(response.status).toBe(503);
    expect(response.json()).toMatchObject({
      error: { code: 'redis_unavailable', message: expect.stringContaining('not known') as string },
    });
    expect(took).toBeLessThan(8_000);
    await waitFor(async () => (await send(gateway, '/healthz')).status === 200);
  }, 15_000);

  test('no caller waits for ever for a Redis that hangs', async () => {
    const { pid } = redis;
    if (pid === undefined) throw new Error('no redis');
    process.kill(pid, 'SIGSTOP');
    try {
      const before = Stopwatch.start();
      const response = await send(gateway, '/api/v1/functions', { headers: { 'x-api-key': 'osk_new' } });
      expect(response.status).toBe(503);
      expect(before.stop()).toBeLessThan(3_000);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await waitFor(async () => (await send(gateway, '/healthz')).status === 200);
  });
});

describe('the gateway ends', () => {
  test('a gateway that stops lets running calls end, and accepts no new ones', async () => {
    const second = await startGateway(redis, { state: gateway.state });
    const slow = await startWorker('drained', (call) => {
      setTimeout(() => call.result({ status: 200, headers: [] }, Buffer.from('done')), 500);
    });
    const calling = send(second, '/fn/default/slow', { headers: { connection: 'keep-alive' } });
    await waitFor(() => slow.calls.size === 1);
    const before = Stopwatch.start();
    const closing = second.close(5_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await expect(send(second, '/healthz')).rejects.toThrow(/ECONNREFUSED/);
    expect((await calling).body.toString()).toBe('done');
    await closing;
    expect(before.stop()).toBeLessThan(2_500);
  });

  test('a gateway stops in time, whatever is running', async () => {
    const second = await startGateway(redis, { state: gateway.state });
    const endless = await startWorker('endless', silent);
    const calling = send(second, '/fn/default/slow').catch((error: unknown) => error);
    await waitFor(() => endless.calls.size === 1);
    const before = Stopwatch.start();
    await second.close(300);
    expect(before.stop()).toBeLessThan(2_000);
    await calling;
    await waitFor(() => endless.calls.size === 0);
  });
});
