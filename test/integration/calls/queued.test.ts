/** The queued lane through real processes: accept, run, retry, dead letter, cancel, replay. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Accepted, AnyInvocationDetail, DeadLetters, InvocationDetail } from '#contract/api/api.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('retries');
  await platform.deploy('retries', { name: 'once', retries: { attempts: 1 } });
  // This function counts its failures in memory, so each attempt must run in the same sandbox. No other function ever
  // makes the worker start a second one.
  await platform.deploy('retries', { name: 'alone' });
}, 60_000);
afterAll(() => platform.stop());

/** Queues an event; resolves to the gateway's answer. */
async function enqueue(
  event: unknown,
  headers: Record<string, string> = {},
  name = 'retries',
): Promise<Response> {
  return await fetch(`${platform.url}/api/v1/functions/default/${name}/invocations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${platform.key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(event),
  });
}

async function queued(event: unknown, headers?: Record<string, string>, name?: string): Promise<string> {
  const response = await enqueue(event, headers, name);
  expect(response.status).toBe(202);
  const { id, url } = (await response.json()) as Accepted;
  expect(response.headers.get('location')).toBe(url);
  return id;
}

async function look(id: string): Promise<AnyInvocationDetail> {
  const response = await platform.api(`/invocations/${id}`);
  expect(response.status).toBe(200);
  return (await response.json()) as AnyInvocationDetail;
}

async function ended(id: string, patienceMs = 20_000): Promise<InvocationDetail> {
  for (const giveUp = performance.now() + patienceMs; performance.now() < giveUp; await sleep(20)) {
    const found = await look(id);
    if (found.state === 'done') return found;
  }
  throw new Error(`it did not end: ${JSON.stringify(await look(id))}`);
}

async function post(path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
  const response = await platform.api(path, {
    method: 'POST',
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: await response.json() };
}

describe('a queued invocation', () => {
  test('a queued invocation is known once it is accepted, runs, and keeps its answer and its log [QU2]', async () => {
    const id = await queued({ answer: 42, sleepMs: 300 });
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(['queued', 'running']).toContain((await look(id)).state);
    const record = await ended(id);
    expect(record).toMatchObject({ lane: 'queued', outcome: 'ok', status: 200, name: 'retries' });
    expect(record.attempts).toHaveLength(1);
    expect(record.logs.map(({ text }) => text)).toEqual([`runs ${id}`]);
    expect(record.spans.map(({ name }) => name)).toContain('run');
    const result = await platform.api(`/invocations/${id}/result`);
    expect(result.status).toBe(200);
    expect(await result.json()).toEqual({ answer: 42, failed: 0 });
  });

  test('Prefer: respond-async queues a request to the function’s own URL, with all of the request', async () => {
    const response = await platform.call('retries/some/path?a=1', {
      method: 'POST',
      headers: { prefer: 'respond-async', authorization: `Bearer ${platform.key}` },
      body: JSON.stringify({ answer: 'url' }),
    });
    expect(response.status).toBe(202);
    expect(response.headers.get('preference-applied')).toBe('respond-async');
    const record = await ended(((await response.json()) as Accepted).id);
    expect(record).toMatchObject({ outcome: 'ok', method: 'POST', path: '/some/path' });
  });

  test('Prefer: respond-async without a key is a synchronous call, since a stranger’s jobs would fill Redis', async () => {
    const headers = { prefer: 'respond-async' };
    const response = await platform.call('retries', { method: 'POST', headers, body: '{"answer":1}' });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ answer: 1, failed: 0 });
  });

  test('a delayed invocation waits for its time, and can be cancelled before [QU6]', async () => {
    const later = await queued({}, { 'x-offshoot-delay': '1' });
    const never = await queued({}, { 'x-offshoot-delay': '1' });
    expect(await look(later)).toMatchObject({ state: 'queued' });
    expect(await post(`/invocations/${never}/cancel`)).toMatchObject({
      status: 202,
      body: { outcome: 'cancelled', cancelledBy: { by: 'key', key: expect.any(String) as string } },
    });
    const record = await ended(later);
    expect((record.attempts?.[0]?.startedAt ?? 0) - record.startedAt).toBeGreaterThanOrEqual(950);
    await sleep(300);
    expect(await look(never)).toMatchObject({ state: 'done', outcome: 'cancelled', logs: [] });
    expect((await post(`/invocations/${never}/cancel`)).status).toBe(409);
  });

  test('a running invocation that is cancelled is killed, and not tried again [QU7]', async () => {
    const id = await queued({ sleepMs: 4_000 });
    await expect.poll(async () => (await look(id)).state, { timeout: 5_000 }).toBe('running');
    expect((await post(`/invocations/${id}/cancel`)).status).toBe(202);
    const record = await ended(id, 3_000);
    expect(record).toMatchObject({ outcome: 'cancelled', cancelledBy: { by: 'key' } });
    expect(record.attempts).toHaveLength(1);
    expect(record.dead).toBeUndefined();
  });

  test('a queued invocation does not start after its time to live [QU6]', async () => {
    const id = await queued({}, { 'x-offshoot-delay': '0.5', 'x-offshoot-ttl': '1' });
    process.kill(platform.pid('worker'), 'SIGSTOP');
    await sleep(2_000);
    process.kill(platform.pid('worker'), 'SIGCONT');
    expect(await ended(id)).toMatchObject({ outcome: 'expired', dead: 'expired', logs: [] });
  });

  test.each([
    ['x-offshoot-delay', 'soon'],
    ['x-offshoot-priority', '0'],
    ['x-offshoot-ttl', '-1'],
  ])('a queued invocation is refused when %s is %s', async (header, value) => {
    const response = await enqueue({}, { [header]: value });
    expect(response.status).toBe(400);
    expect(await response.text()).toContain(header);
  });
});

describe('the same Idempotency-Key', () => {
  test('requests with the same Idempotency-Key are the same invocation, which runs once [QU5]', async () => {
    const key = { 'idempotency-key': 'order-1' };
    const ids = await Promise.all(Array.from({ length: 20 }, () => queued({ answer: 1 }, key)));
    expect(new Set(ids).size).toBe(1);
    const [id = ''] = ids;
    expect((await ended(id)).logs).toHaveLength(1);
    expect(await queued({ answer: 1 }, key)).toBe(id);
    const other = await queued({ answer: 1 }, { 'idempotency-key': 'order-2' });
    expect(other).not.toBe(id);
    await ended(other);
    // An Idempotency-Key belongs to one function.
    expect(await queued({ answer: 1 }, key, 'once')).not.toBe(id);
  });

  test('the same Idempotency-Key with another input is refused [QU5]', async () => {
    const key = { 'idempotency-key': 'order-3' };
    await queued({ answer: 1 }, key);
    const response = await enqueue({ answer: 2 }, key);
    expect(response.status).toBe(422);
    expect(await response.text()).toContain('idempotency_mismatch');
  });
});

describe('an invocation that fails', () => {
  test('a failed invocation is tried again until it succeeds', async () => {
    const record = await ended(await queued({ fail: 'throw', times: 2 }, {}, 'alone'));
    expect(record).toMatchObject({ outcome: 'ok' });
    expect(record.attempts?.map(({ outcome }) => outcome)).toEqual(['error', 'error', 'ok']);
    expect(record.attempts?.[0]?.message).toBe('Error: failure 1');
  });

  test('a retry waits as long as Retry-After in the answer asks for [QU3]', async () => {
    const record = await ended(await queued({ fail: 'busy', times: 1 }, {}, 'alone'));
    const [first, second] = record.attempts ?? [];
    expect(first).toMatchObject({ outcome: 'ok', status: 503 });
    expect((second?.startedAt ?? 0) - (first?.endedAt ?? 0)).toBeGreaterThanOrEqual(950);
    expect(second).toMatchObject({ outcome: 'ok', status: 200 });
  });

  test('an invocation that fails for good becomes a dead letter, which is listed, queued again, and purged [QU3]', async () => {
    const id = await queued({ fail: 'throw' }, {}, 'once');
    expect(await ended(id)).toMatchObject({ outcome: 'error', dead: 'attempts_used' });
    const letters = async (): Promise<string[]> =>
      ((await (await platform.api('/dead-letters/default?name=once')).json()) as DeadLetters).deadLetters.map(
        (one) => one.id,
      );
    expect(await letters()).toEqual([id]);
    expect((await post('/dead-letters/default/redrive', { ids: [id] })).body).toEqual({ ids: [id] });
    await expect
      .poll(async () => ((await look(id)) as InvocationDetail).attempts?.length, { timeout: 5_000 })
      .toBe(2);
    expect(await ended(id)).toMatchObject({ dead: 'attempts_used', redriven: 1 });
    expect(await letters()).toEqual([id]);
    expect((await post('/dead-letters/default/purge', { name: 'once' })).body).toEqual({ ids: [id] });
    expect(await letters()).toEqual([]);
    expect((await look(id)).state).toBe('done');
  });

  test('an invocation that has ended three sandboxes is poison, however many attempts it has left [QU4]', async () => {
    await platform.deploy('retries', {
      name: 'patient',
      retries: { attempts: 50, minDelay: 0.1, maxDelay: 0.1 },
    });
    const record = await ended(await queued({ fail: 'exit' }, {}, 'patient'));
    expect(record).toMatchObject({ outcome: 'exited', dead: 'poison' });
    expect(record.attempts).toHaveLength(3);
  });
});

describe('a replay', () => {
  test('a replay has the same input, or another one, and names the invocation that it repeats', async () => {
    const id = await queued({ answer: 'first' });
    await ended(id);
    const again = await post(`/invocations/${id}/replay`, {});
    expect(again.status).toBe(202);
    const repeated = (again.body as Accepted).id;
    expect(await ended(repeated)).toMatchObject({ outcome: 'ok', replayOf: id });
    expect(await (await platform.api(`/invocations/${repeated}/result`)).json()).toMatchObject({
      answer: 'first',
    });
    const other = (await post(`/invocations/${id}/replay`, { input: { answer: 'second' } })).body as Accepted;
    await ended(other.id);
    expect(await (await platform.api(`/invocations/${other.id}/result`)).json()).toMatchObject({
      answer: 'second',
    });
    expect((await post(`/invocations/${id}/replay`, { version: 99 })).status).toBe(404);
  });
});

describe('the views of invocations', () => {
  test('a synchronous call that lasts is shown meanwhile, and can be cancelled [OB32]', async () => {
    const waiting = platform.call('retries', { method: 'POST', body: JSON.stringify({ sleepMs: 4_000 }) });
    const running = async (): Promise<AnyInvocationDetail | undefined> =>
      (
        (await (await platform.api('/invocations?state=running')).json()) as {
          invocations: AnyInvocationDetail[];
        }
      ).invocations[0];
    await expect.poll(async () => (await running())?.lane, { timeout: 3_000 }).toBe('sync');
    const id = (await running())?.id ?? '';
    expect((await post(`/invocations/${id}/cancel`)).status).toBe(202);
    expect((await waiting).status).toBe(499);
    // By the key of the request, and not by the caller, who waited.
    expect(await ended(id)).toMatchObject({ outcome: 'cancelled', lane: 'sync', cancelledBy: { by: 'key' } });
  });

  test('the list of invocations is filtered by state and outcome', async () => {
    const list = async (query: string): Promise<InvocationDetail[]> =>
      (
        (await (await platform.api(`/invocations?namespace=default&${query}`)).json()) as {
          invocations: InvocationDetail[];
        }
      ).invocations;
    const failed = await list('outcome=error');
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.every(({ outcome }) => outcome === 'error')).toBe(true);
    const [one] = failed;
    expect((await list(`trace=${one?.traceId}`)).map(({ id }) => id)).toEqual([one?.id]);
  });

  test('progress of an invocation comes as server-sent events, the last one when it has ended', async () => {
    // Keeps the invocation from starting before the events are read.
    process.kill(platform.pid('worker'), 'SIGSTOP');
    const id = await queued({ sleepMs: 2_000 });
    const response = await platform.api(`/invocations/${id}/events`);
    process.kill(platform.pid('worker'), 'SIGCONT');
    const states = [...(await response.text()).matchAll(/^data: (.*)$/gm)].map(
      ([, data]) => (JSON.parse(data ?? '') as AnyInvocationDetail).state,
    );
    expect(states.at(-1)).toBe('done');
    expect(new Set(states)).toEqual(new Set(['queued', 'running', 'done']));
  });
});
