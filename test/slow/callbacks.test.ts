/** Callbacks through real processes: the end of an invocation reaches a receiver, signed, once the receiver takes it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Accepted, AnyInvocationDetail } from '#contract/api/api.ts';
import type { CallbackSecrets } from '#contract/invocations/callback.ts';
import type { Callback } from '#contract/invocations/invocation.ts';
import { parseRedisUrl } from '#storage/redis/redis.ts';
import { Platform } from '../support/platform/platform.ts';
import { Receiver, verify } from '../support/servers/receiver.ts';

/** A lost gateway's deliveries restart after the lock expires and the queue is checked twice, about 16 s. */
const RECOVERY_MS = 40_000;

let platform: Platform;
let receiver: Receiver;
beforeAll(async () => {
  platform = await Platform.start({
    OFFSHOOT_CALLBACK_ALLOW: '127.0.0.1/32',
    OFFSHOOT_CALLBACK_ATTEMPTS: '4',
    OFFSHOOT_CALLBACK_FIRST_DELAY_MS: '100',
    OFFSHOOT_CALLBACK_LAST_DELAY_MS: '400',
    OFFSHOOT_CALLBACK_TIMEOUT_MS: '1500',
    OFFSHOOT_CALLBACK_CONCURRENCY: '2',
  });
  await platform.deploy('retries');
  await platform.deploy('retries', { name: 'once', retries: { attempts: 1 } });
}, 60_000);
afterAll(() => platform.stop());
beforeEach(async () => {
  receiver = await Receiver.start();
});
afterEach(() => receiver.stop());

interface Wanted {
  readonly url?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly headers?: Record<string, string>;
}

async function queued(event: unknown, wanted: Wanted = {}): Promise<string> {
  const { url = `${receiver.url}/ended?of=a`, name = 'retries', namespace = 'default', headers } = wanted;
  const response = await fetch(`${platform.url}/api/v1/functions/${namespace}/${name}/invocations`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${platform.key}`,
      'content-type': 'application/json',
      'x-offshoot-callback': url,
      ...headers,
    },
    body: JSON.stringify(event),
  });
  expect(response.status).toBe(202);
  return ((await response.json()) as Accepted).id;
}

async function look(id: string): Promise<AnyInvocationDetail> {
  return (await (await platform.api(`/invocations/${id}`)).json()) as AnyInvocationDetail;
}

/** The callback in the record, once nothing more is to come. */
async function settled(id: string, patienceMs = 15_000): Promise<Callback> {
  for (const giveUp = performance.now() + patienceMs; performance.now() < giveUp; await sleep(20)) {
    const { state, callback } = await look(id);
    if (state === 'done' && callback && callback.state !== 'pending') return callback;
  }
  throw new Error(`it is not settled: ${JSON.stringify(await look(id))}`);
}

async function secrets(namespace = 'default', rotate = ''): Promise<CallbackSecrets> {
  const path = `/callbacks/${namespace}/secret${rotate}`;
  const response = await platform.api(path, rotate === '' ? {} : { method: 'POST' });
  expect(response.status).toBe(200);
  return (await response.json()) as CallbackSecrets;
}

async function post(path: string, body: unknown = {}): Promise<number> {
  return (await platform.api(path, { method: 'POST', body: JSON.stringify(body) })).status;
}

describe('the end of an invocation', () => {
  test('a callback reaches the receiver signed, with the answer of the function [CB3, CB8]', async () => {
    const id = await queued({ answer: 42, sleepMs: 300 });
    const open = await look(id);
    expect(open.callback).toEqual({ url: `${receiver.url}/ended?of=a`, state: 'pending', attempts: 0 });
    expect(await settled(id)).toEqual({
      url: `${receiver.url}/ended?of=a`,
      state: 'delivered',
      attempts: 1,
      lastStatus: 204,
    });
    const [got] = receiver.received;
    expect(receiver.received).toHaveLength(1);
    expect(got?.path).toBe('/ended?of=a');
    expect(got?.headers).toMatchObject({ 'webhook-id': id, 'content-type': 'application/json' });
    expect(got?.body).toMatchObject({
      type: 'invocation.ended',
      id,
      namespace: 'default',
      name: 'retries',
      version: 1,
      outcome: 'ok',
      status: 200,
      attempts: 1,
      result: { contentType: 'application/json', encoding: 'json', body: { answer: 42, failed: 0 } },
    });
    const { current } = await secrets();
    if (!got) throw new Error('nothing came');
    verify(current.secret, got);
    // Controls: the check fails with another secret, and with another body.
    expect(() => verify('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', got)).toThrow('signature');
    expect(() => verify(current.secret, { ...got, text: `${got.text} ` })).toThrow('signature');
  });

  test('a callback is sent too where Prefer: respond-async asked for it', async () => {
    const response = await platform.call('retries', {
      method: 'POST',
      headers: {
        prefer: 'respond-async',
        authorization: `Bearer ${platform.key}`,
        'x-offshoot-callback': receiver.url,
      },
      body: JSON.stringify({ answer: 'url' }),
    });
    expect(response.status).toBe(202);
    const { id } = (await response.json()) as Accepted;
    expect(await settled(id)).toMatchObject({ state: 'delivered' });
    expect(receiver.of(id)).toHaveLength(1);
  });

  test.each([300_000, 2_000_000])('a callback holds the address of an answer of %i bytes', async (size) => {
    const id = await queued({ answer: 'x'.repeat(size) });
    await settled(id);
    const [got] = receiver.of(id);
    expect(got?.body.result).toBeUndefined();
    expect(got?.body.resultUrl).toBe(`/api/v1/invocations/${id}/result`);
    const result = await fetch(`${platform.url}${got?.body.resultUrl}`, {
      headers: { authorization: `Bearer ${platform.key}` },
    });
    expect(((await result.json()) as { answer: string }).answer).toHaveLength(size);
  });

  test('a dead letter is reported by a callback, and again after it has been queued again [CB1]', async () => {
    const id = await queued({ fail: 'throw' }, { name: 'once' });
    await settled(id);
    expect(receiver.of(id).map(({ body }) => body)).toMatchObject([
      { outcome: 'error', status: 500, dead: 'attempts_used', attempts: 1 },
    ]);
    expect(await post('/dead-letters/default/redrive', { ids: [id] })).toBe(200);
    await expect.poll(() => receiver.of(id).length, { timeout: 10_000 }).toBe(2);
    expect(await settled(id)).toMatchObject({ state: 'delivered', attempts: 1 });
    expect(receiver.of(id).map(({ headers }) => headers['webhook-id'])).toEqual([id, `${id}-1`]);
    expect(receiver.of(id)[1]?.body).toMatchObject({ dead: 'attempts_used', attempts: 2 });
  });

  test('a callback is sent for an invocation that was cancelled before it ran, while it ran, and that expired [CB1]', async () => {
    const waiting = await queued({}, { headers: { 'x-offshoot-delay': '60' } });
    const running = await queued({ sleepMs: 10_000 });
    await expect.poll(async () => (await look(running)).state, { timeout: 5_000 }).toBe('running');
    const expired = await queued({}, { headers: { 'x-offshoot-delay': '0.5', 'x-offshoot-ttl': '1' } });
    expect(await post(`/invocations/${waiting}/cancel`)).toBe(202);
    expect(await post(`/invocations/${running}/cancel`)).toBe(202);
    process.kill(platform.pid('worker'), 'SIGSTOP');
    await sleep(2_000);
    process.kill(platform.pid('worker'), 'SIGCONT');
    for (const id of [waiting, running, expired])
      expect(await settled(id, RECOVERY_MS)).toMatchObject({ state: 'delivered' });
    const told = [waiting, running, expired].map((id) => receiver.of(id).map(({ body }) => body.outcome));
    expect(told).toEqual([['cancelled'], ['cancelled'], ['expired']]);
  }, 60_000);

  test('a delivery is in Redis before the record says that the invocation has ended, whichever process ends it [CB2]', async () => {
    const redis = new Redis({ ...parseRedisUrl(platform.redis.url), replyMapping: 'legacy' });
    const monitor = await redis.monitor();
    const seen: string[] = [];
    monitor.on('monitor', (_time: string, args: string[]) => seen.push(args.join(' ')));
    const run = await queued({});
    const cancelled = await queued({}, { headers: { 'x-offshoot-delay': '60' } });
    expect(await post(`/invocations/${cancelled}/cancel`)).toBe(202);
    for (const id of [run, cancelled]) {
      await settled(id);
      const added = seen.findIndex((one) => /^hmset /i.test(one) && one.includes(`deliveries:${id}`));
      const recorded = seen.findIndex(
        (one) => /^set /i.test(one) && one.includes(`invocation:{${id}}`) && one.includes('"state":"done"'),
      );
      expect(added).toBeGreaterThan(-1);
      expect(recorded).toBeGreaterThan(added);
    }
    monitor.disconnect();
    redis.disconnect();
  });

  test('no callback is sent where the request asked for none', async () => {
    const response = await platform.api('/functions/default/retries/invocations', {
      method: 'POST',
      body: '{}',
    });
    const { id } = (await response.json()) as Accepted;
    await expect.poll(async () => (await look(id)).state, { timeout: 10_000 }).toBe('done');
    expect((await look(id)).callback).toBeUndefined();
  });
});

describe('a receiver that', () => {
  test('a receiver that fails gets another delivery, under the same id [CB4]', async () => {
    receiver.answer = (response, turn) =>
      void response.writeHead(turn < 2 ? 500 : 200).end('x'.repeat(9_000));
    const id = await queued({});
    expect(await settled(id)).toMatchObject({ state: 'delivered', attempts: 3, lastStatus: 200 });
    const ids = receiver.of(id).map(({ headers }) => headers['webhook-id']);
    expect(ids).toEqual([id, id, id]);
    const { current } = await secrets();
    for (const got of receiver.of(id)) verify(current.secret, got);
  });

  test('a receiver that always fails gets its number of deliveries, and then no more', async () => {
    receiver.answer = (response) => void response.writeHead(503).end();
    const id = await queued({});
    expect(await settled(id)).toMatchObject({
      state: 'failed',
      attempts: 4,
      lastStatus: 503,
      lastError: 'the receiver answered 503',
    });
    await sleep(500);
    expect(receiver.of(id)).toHaveLength(4);
  });

  test('a receiver that names a time by Retry-After gets nothing until then', async () => {
    receiver.answer = (response, turn) =>
      void (turn === 0 ? response.writeHead(429, { 'retry-after': '1' }) : response.writeHead(200)).end();
    const id = await queued({});
    await settled(id);
    const [first, second] = receiver.of(id);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(950);
  });

  test('a receiver that answers 410 gets nothing more', async () => {
    receiver.answer = (response) => void response.writeHead(410).end();
    const id = await queued({});
    expect(await settled(id)).toMatchObject({ state: 'failed', attempts: 1, lastStatus: 410 });
    await sleep(500);
    expect(receiver.of(id)).toHaveLength(1);
  });

  test('a receiver that redirects is not followed [CB6]', async () => {
    const inside = await Receiver.start();
    receiver.answer = (response) => void response.writeHead(307, { location: inside.url }).end();
    const id = await queued({});
    expect(await settled(id)).toMatchObject({ state: 'failed', lastStatus: 307 });
    expect(inside.received).toEqual([]);
    await inside.stop();
  });

  test('a receiver that never answers delays its own namespace, and no other [CB7]', async () => {
    await platform.deploy('retries', {}, 'neighbour');
    receiver.answer = () => undefined;
    const slow = await Promise.all(Array.from({ length: 6 }, () => queued({})));
    await expect.poll(() => receiver.received.length, { timeout: 10_000 }).toBe(2);
    const quick = await Receiver.start();
    const id = await queued({}, { namespace: 'neighbour', url: quick.url });
    expect(await settled(id)).toMatchObject({ state: 'delivered' });
    // Control: the deliveries before it are still pending, two at a time were tried.
    for (const one of slow) expect((await look(one)).callback?.state).toBe('pending');
    receiver.answer = (response) => void response.writeHead(200).end();
    for (const one of slow) expect(await settled(one)).toMatchObject({ state: 'delivered' });
    // Which of them were the first is chance.
    const tries = await Promise.all(slow.map(async (one) => (await look(one)).callback?.attempts ?? 0));
    expect(tries.filter((count) => count > 1)).toHaveLength(2);
    await quick.stop();
  }, 60_000);
});

describe('a gateway that dies', () => {
  test('a gateway that dies between the end and its delivery loses nothing', async () => {
    const id = await queued({ sleepMs: 1_500 });
    await expect.poll(async () => (await look(id)).state, { timeout: 5_000 }).toBe('running');
    await platform.kill('gateway');
    await sleep(2_500);
    expect(receiver.received).toEqual([]);
    platform.run('gateway');
    await platform.ready();
    // The worker has ended it while no gateway ran.
    expect((await look(id)).state).toBe('done');
    expect(await settled(id)).toMatchObject({ state: 'delivered', attempts: 1 });
    expect(receiver.of(id)).toHaveLength(1);
  }, 60_000);

  test('a gateway that dies during a delivery leaves it to the next, under the same id, with one success on record [CB2]', async () => {
    receiver.answer = (response, turn) => void (turn > 0 && response.writeHead(200).end());
    const id = await queued({});
    await expect.poll(() => receiver.of(id).length, { timeout: 10_000 }).toBe(1);
    await platform.kill('gateway');
    platform.run('gateway');
    await platform.ready();
    expect(await settled(id, RECOVERY_MS)).toMatchObject({
      state: 'delivered',
      attempts: 2,
      lastStatus: 200,
    });
    await sleep(500);
    expect(receiver.of(id).map(({ headers }) => headers['webhook-id'])).toEqual([id, id]);
  }, 90_000);
});

test('a worker that dies during a run leaves both its end and its callback to the next', async () => {
  const id = await queued({ sleepMs: 3_000 });
  await expect.poll(async () => (await look(id)).state, { timeout: 5_000 }).toBe('running');
  await platform.kill('worker');
  platform.run('worker');
  await platform.ready();
  expect(await settled(id, RECOVERY_MS)).toMatchObject({ state: 'delivered', attempts: 1 });
  expect(receiver.of(id).map(({ body }) => [body.outcome, body.attempts])).toEqual([['ok', 2]]);
}, 90_000);

describe('an address inside', () => {
  test.each([
    ['another of loopback', (port: number) => `http://127.0.0.2:${port}`],
    ['loopback of IPv6', (port: number) => `http://[::1]:${port}`],
    ['metadata', () => 'http://169.254.169.254/latest/meta-data/'],
    ['a number', (port: number) => `http://2130706434:${port}`],
    ['a form of IPv6 with an IPv4 address in it', () => 'http://[64:ff9b::a9fe:a9fe]/'],
    ['this host', (port: number) => `http://0.0.0.0:${port}`],
  ])('a callback to an address inside is refused, and the record says so: %s [CB5]', async (_, url) => {
    const inside = await Receiver.start('0.0.0.0');
    const id = await queued({}, { url: url(inside.port) });
    expect(await settled(id)).toMatchObject({
      state: 'failed',
      attempts: 1,
      lastError: expect.stringContaining('OFFSHOOT_CALLBACK_ALLOW') as unknown,
    });
    expect(inside.received).toEqual([]);
    // Control: the receiver listens, and is reached by the address that is allowed.
    const allowed = await queued({}, { url: `http://127.0.0.1:${inside.port}` });
    expect(await settled(allowed)).toMatchObject({ state: 'delivered' });
    await inside.stop();
  });

  test.each([
    ['no URL', 'soon'],
    ['another scheme', 'ftp://example.com/'],
    ['credentials', 'https://user:secret@example.com/'],
  ])('a callback URL is refused at once where it is %s', async (_, url) => {
    const response = await fetch(`${platform.url}/api/v1/functions/default/retries/invocations`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${platform.key}`,
        'content-type': 'application/json',
        'x-offshoot-callback': url,
      },
      body: '{}',
    });
    expect(response.status).toBe(400);
    const text = await response.text();
    expect(text).toContain('x-offshoot-callback');
    expect(text).not.toContain('user:secret');
  });
});

describe('the secret', () => {
  test('each namespace has a secret of its own, and after a rotation the new one signs beside the old', async () => {
    const before = await secrets();
    expect(before.current.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect((await secrets()).current).toEqual(before.current);
    const after = await secrets('default', '/rotate');
    expect(after.current.secret).not.toBe(before.current.secret);
    expect(after.previous.map(({ secret }) => secret)).toContain(before.current.secret);
    const id = await queued({});
    await settled(id);
    const [got] = receiver.of(id);
    if (!got) throw new Error('nothing came');
    verify(before.current.secret, got);
    verify(after.current.secret, got);
    await platform.deploy('retries', {}, 'other');
    const other = await secrets('other');
    expect(() => verify(other.current.secret, got)).toThrow('signature');
  }, 60_000);
});

describe('the CLI', () => {
  test('the CLI asks for a callback, shows its deliveries, and shows and rotates the secret', async () => {
    const url = `${receiver.url}/cli`;
    const invoked = await platform.cli(
      'invoke',
      'retries',
      '--async',
      '--callback',
      url,
      '--data',
      '{}',
      '--json',
    );
    expect(invoked.code).toBe(0);
    const { id } = JSON.parse(invoked.stdout) as Accepted;
    await settled(id);
    const { stdout } = await platform.cli('trace', id);
    expect(stdout).toMatch(/callback\s+delivered to http:\/\/127\.0\.0\.1:\d+\/cli, 204/);
    expect((await platform.cli('invocations', 'retries')).stdout).toContain('callback delivered');
    const shown = await platform.cli('callbacks', 'secret');
    expect(shown.stdout.trim()).toBe((await secrets()).current.secret);
    const rotated = await platform.cli('callbacks', 'rotate', '--json');
    const document = JSON.parse(rotated.stdout) as CallbackSecrets;
    expect(document.current.secret).not.toBe(shown.stdout.trim());
    expect(document.current.secret).toBe((await secrets()).current.secret);
  }, 60_000);

  test('the CLI refuses --callback without --async', async () => {
    const { code, stderr } = await platform.cli('invoke', 'retries', '--callback', receiver.url);
    expect(code).toBe(2);
    expect(stderr).toContain('--async');
  });
});
