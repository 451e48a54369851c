/**
 * Faults of the network between the platform and its Redis: delays, resets, silence, and answers that are lost after
 * Redis has executed the command. Q5 and Q9 of the list of scenarios.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Accepted } from '#contract/api/api.ts';
import { Platform } from '../support/platform/platform.ts';
import { PrivateRedis } from '../support/redis/private-redis.ts';
import { TcpProxy } from '../support/faults/tcp-proxy.ts';
import { Stopwatch } from '../support/platform/stopwatch.ts';
import { acknowledged, ended, enqueuer, type Enqueue } from './history.ts';

/**
 * A lost job restarts after its lock expires and the queue is checked twice, about 16 s; a silent connection is noticed
 * after 15.
 */
const RECOVERY_MS = 60_000;
/**
 * Upper bound on the time of a call: queue, load and run, plus half a second; one more second is for the test. A caller
 * whose answer was lost gets an error at this deadline. The queue time is longer than a lane's reader waits on a silent
 * connection.
 */
const QUEUE_TIMEOUT_MS = 8_000;
const LOAD_AND_RUN_MS = 4_000;
const CALL_MS = QUEUE_TIMEOUT_MS + LOAD_AND_RUN_MS + 1_500;
/** The worker runs half of these jobs at the same time. */
const CAPACITY = 16;

let redis: PrivateRedis;
let proxy: TcpProxy;
let platform: Platform;
let enqueue: Enqueue;
beforeEach(async () => {
  redis = await PrivateRedis.start(['--appendonly', 'yes']);
  proxy = await TcpProxy.start({ path: join(redis.directory, 'redis.sock') });
  platform = await Platform.start({
    REDIS_URL: `redis://127.0.0.1:${proxy.port}`,
    OFFSHOOT_CAPACITY: String(CAPACITY),
    OFFSHOOT_PREPARED: '1',
    OFFSHOOT_QUEUE_TIMEOUT_MS: String(QUEUE_TIMEOUT_MS),
  });
  await platform.deploy('retries', { timeout: 30 });
  await platform.deploy('retries', { name: 'brief', timeout: 2, initTimeout: 2 });
  enqueue = enqueuer(platform, 'retries');
}, 60_000);
afterEach(async () => {
  proxy?.heal();
  await platform?.stop();
  await proxy?.stop();
  await redis?.stop();
});

interface Answer {
  readonly status: number;
  readonly ms: number;
}

async function call(): Promise<Answer> {
  const before = performance.now();
  const response = await platform.call('brief', { method: 'POST', body: '{"sleepMs":20}' });
  await response.text();
  return { status: response.status, ms: performance.now() - before };
}

/** Makes calls one after the other until `stop` is called. */
function calling(): () => Promise<Answer[]> {
  const answers: Answer[] = [];
  const stopping = new AbortController();
  const callers = Array.from({ length: 4 }, async () => {
    while (!stopping.signal.aborted) {
      answers.push(await call());
      await sleep(50);
    }
  });
  return async () => {
    stopping.abort();
    await Promise.all(callers);
    return answers;
  };
}

/** All acknowledged invocations end, and the same processes serve everything again. */
async function allIsWell(ids: readonly string[], pids: readonly number[]): Promise<void> {
  await expect.poll(async () => (await call()).status, { timeout: 15_000 }).toBe(200);
  await expect.poll(async () => (await platform.api('/invocations')).status, { timeout: 15_000 }).toBe(200);
  await ended(platform, ids, RECOVERY_MS);
  for (const { status } of await Promise.all(Array.from({ length: 10 }, call))) expect(status).toBe(200);
  // Every permit for jobs of the worker is free again: three full rounds run, and one job that renews its lock.
  const again = await acknowledged(enqueue, CAPACITY * 1.5 - 1, { sleepMs: 100 });
  const long = await acknowledged(enqueue, 1, { sleepMs: 12_000 });
  expect(again.length + long.length).toBe(CAPACITY * 1.5);
  await ended(platform, again, 10_000);
  const [record] = await ended(platform, long, 25_000);
  expect(record?.attempts?.map(({ outcome }) => outcome)).toEqual(['ok']);
  expect([platform.pid('worker'), platform.pid('gateway')]).toEqual(pids);
}

const pidsOf = (): number[] => [platform.pid('worker'), platform.pid('gateway')];

describe('Q5', () => {
  test('Q5 redis-latency: with 200 ms of delay each way, everything is slower and nothing fails [RE1]', async () => {
    const pids = pidsOf();
    proxy.conditions.latencyMs = 200;
    proxy.conditions.jitterMs = 50;
    const ids = await acknowledged(enqueue, 20, { sleepMs: 50 });
    expect(ids).toHaveLength(20);
    for (let round = 0; round < 3; round++) {
      const { status, ms } = await call();
      expect(status).toBe(200);
      // Control: the delay can be measured.
      expect(ms).toBeGreaterThan(400);
      expect(ms).toBeLessThan(CALL_MS);
    }
    for (const { attempts, outcome } of await ended(platform, ids, RECOVERY_MS))
      expect([outcome, attempts?.length]).toEqual(['ok', 1]);
    proxy.heal();
    await allIsWell(ids, pids);
  });

  test('Q5 redis-resets: connections that are reset during running jobs lose no job, and every caller gets an answer', async () => {
    const pids = pidsOf();
    const stop = calling();
    const ids: string[] = [];
    for (let round = 0; round < 20; round++) {
      ids.push(...(await acknowledged(enqueue, 4, { sleepMs: 150 })));
      proxy.reset(0.4);
      await sleep(150);
    }
    const answers = await stop();
    expect(proxy.resets).toBeGreaterThan(20);
    expect(ids.length).toBeGreaterThan(20);
    expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(CALL_MS);
    for (const { status } of answers) expect([200, 502, 503, 504]).toContain(status);
    await allIsWell(ids, pids);
  }, 180_000);

  test('Q5 redis-half-open: connections that stay open but pass no bytes are abandoned, and no job is lost', async () => {
    const pids = pidsOf();
    const ids = await acknowledged(enqueue, 20, { sleepMs: 300 });
    await sleep(300);
    const stop = calling();
    expect(proxy.silence()).toBeGreaterThan(5);
    await sleep(10_000);
    const answers = await stop();
    expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(CALL_MS);
    // Control: callers have noticed the silence; some got 503.
    expect(answers.some(({ status }) => status === 503)).toBe(true);
    await allIsWell(ids, pids);
  }, 180_000);

  test('Q5 redis-limit-data: connections that end in the middle of a command or an answer lose no job', async () => {
    const pids = pidsOf();
    proxy.conditions.resetAfterBytes = 50_000;
    const stop = calling();
    const ids: string[] = [];
    for (let round = 0; round < 15; round++) {
      ids.push(...(await acknowledged(enqueue, 4, { sleepMs: 50, answer: 'x'.repeat(3_000) })));
      await sleep(200);
    }
    const answers = await stop();
    expect(proxy.resets).toBeGreaterThan(10);
    expect(ids.length).toBeGreaterThan(5);
    expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(CALL_MS);
    proxy.heal();
    proxy.reset();
    await allIsWell(ids, pids);
  }, 180_000);
});

/**
 * Time after which a silent connection is replaced: 5 s when it owes an answer, 6 s when it may block for 2 s. Another
 * second is for the test.
 */
const GIVEN_UP_MS = 7_000;
/** The same bound for BullMQ's connections, which may block for 10 s. */
const QUEUE_GIVEN_UP_MS = 16_000;

describe('Q5 silence', () => {
  /**
   * Task of a connection, a pattern that only its requests match, and the statuses possible for a call that starts
   * while the connection is silent.
   */
  const BY_ITSELF: [string, RegExp, number[]][] = [
    ['on which a worker reads its lane', /blmpop[^]*:lane\r/i, [200]],
    ['on which a gateway reads answers', /blmpop[^]*offshoot:replies:/i, [200]],
    ['on which a worker waits for jobs', /bzpopmin/i, [200]],
    ['on which the time is asked for', /offshoot:clock/i, [200, 503]],
  ];
  /** The same for connections that the call itself silences. */
  const BY_THE_CALL: [string, RegExp, number[]][] = [
    ['on which a worker answers', /rpush[^]*offshoot:replies:/i, [200]],
    // The gateway cannot know whether Redis has the call, so its caller gets an error.
    ['on which a gateway hands calls over', /rpush[^]*:lane\r/i, [503]],
  ];
  const LINES = [
    ...BY_ITSELF.map((line) => [...line, true] as const),
    ...BY_THE_CALL.map((line) => [...line, false] as const),
  ];

  test.each(LINES)(
    'Q5 redis-silent-connection: a silent connection, one %s, is replaced long before any deadline [RE1]',
    async (_, request, statuses, byItself) => {
      await ended(platform, await acknowledged(enqueue, 1, {}), 10_000);
      const silent = proxy.silenceAt((data) => request.test(data.toString('latin1')));
      if (byItself) await silent;
      const { status, ms } = await call();
      await silent;
      expect(statuses).toContain(status);
      expect(ms).toBeLessThan(GIVEN_UP_MS);
      await expect.poll(async () => (await call()).status, { timeout: GIVEN_UP_MS }).toBe(200);
      await ended(platform, await acknowledged(enqueue, 1, {}), QUEUE_GIVEN_UP_MS);
    },
  );

  test('Q5 redis-hangs: connections made to a hanging Redis, such as a primary before failover, are replaced once it answers', async () => {
    const pids = pidsOf();
    const ids = await acknowledged(enqueue, 20, { sleepMs: 300 });
    proxy.conditions.hanging = true;
    proxy.silence();
    const stop = calling();
    // Within this time every connection is made anew, and hangs again.
    await sleep(QUEUE_GIVEN_UP_MS);
    proxy.heal();
    const healed = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
    const before = await stop();
    expect(before.some(({ status }) => status === 200)).toBe(false);
    expect(Math.max(...before.map(({ ms }) => ms))).toBeLessThan(CALL_MS);
    // The newest connections are still within their timeout: one to hand the call over, then one for its answer.
    await expect.poll(async () => (await call()).status, { timeout: 2 * GIVEN_UP_MS }).toBe(200);
    expect(healed.stop()).toBeLessThan(2 * GIVEN_UP_MS);
    await allIsWell(ids, pids);
  }, 180_000);
});

describe('Q9', () => {
  /** Commands that create an invocation, recognised by a part that only they contain. */
  const STEPS: Record<string, (request: string) => boolean> = {
    'the key is claimed': (request) => request.includes(':idempotency:'),
    'the input is kept': (request) => request.includes('offshoot:input:'),
    'the job is added': (request) => request.includes(':queued:') && request.includes('{"id":"'),
  };

  test.each(Object.entries(STEPS))(
    'Q9 lost-answer: when %s and the answer is lost, requests with the same Idempotency-Key cause one execution [QU5]',
    async (step, isIt) => {
      // The first run loads the scripts into Redis.
      await ended(platform, await acknowledged(enqueue, 1, {}), 10_000);
      for (let order = 0; order < 5; order++) {
        const key = { 'idempotency-key': `${step} ${order}` };
        const event = { answer: order };
        const cut = proxy.cutNextReply((request) => isIt(request.toString('latin1')));
        const first = await enqueue(event, key);
        await cut;
        // Redis has executed the command, and the caller cannot know.
        expect(first.status).toBe(503);
        // Long enough for a queued job to run.
        if (order % 2 === 1) await sleep(500);
        let second = await enqueue(event, key);
        for (let retry = 0; second.status === 503 && retry < 50; retry++) {
          await sleep(50);
          second = await enqueue(event, key);
        }
        expect(second.status).toBe(202);
        const { id } = (await second.json()) as Accepted;
        expect(((await (await enqueue(event, key)).json()) as Accepted).id).toBe(id);
        const [record] = await ended(platform, [id], 20_000);
        expect([record?.outcome, record?.attempts?.length, record?.logs.length]).toEqual(['ok', 1, 1]);
        await sleep(300);
        const invocations = await platform.api('/invocations?namespace=default&name=retries');
        const all = ((await invocations.json()) as { invocations: unknown[] }).invocations;
        // One invocation for each order, and the first one.
        expect(all).toHaveLength(order + 2);
      }
      expect(proxy.resets).toBe(5);
    },
  );
});
