/**
 * The dashboard without a browser: signing in, the rights of a session, and the time that a list of ten thousand takes.
 */
import { once } from 'node:events';
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pages, QueueRow } from '#contract/api/dashboard.ts';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { MAX_TRACE_INVOCATIONS, WholeTrace } from '#contract/invocations/whole-trace.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { Platform } from '../../support/platform/platform.ts';

/** Headers as a browser sends them for a page, for a script of the page, and for a form of another site. */
const AS_PAGE = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none' };
const AS_SCRIPT = { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty', 'sec-fetch-site': 'same-origin' };
const AS_STRANGER = { ...AS_SCRIPT, 'sec-fetch-site': 'cross-site' };

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_TRUST_PROXY: '1' });
  await platform.deploy('hello-fetch', { env: { DB_PASSWORD: 'hunter2' } });
}, 60_000);
afterAll(() => platform.stop());

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Not by fetch, which sets these headers in its own way. */
async function open(
  path: string,
  {
    method = 'GET',
    headers = {},
    body,
  }: { method?: string; headers?: Record<string, string>; body?: unknown } = {},
): Promise<IncomingMessage> {
  const sent = request(`${platform.url}${path}`, {
    method,
    headers: { ...headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
    agent: false,
  });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response;
}

async function ask(path: string, options: Parameters<typeof open>[1] = {}): Promise<Answer> {
  const response = await open(path, options);
  let text = '';
  for await (const piece of response) text += String(piece);
  return { status: response.statusCode ?? 0, headers: response.headers, text };
}

async function signIn(headers: Record<string, string> = AS_SCRIPT): Promise<Answer> {
  return await ask('/dashboard/session', { method: 'POST', headers, body: { key: platform.key } });
}

/** Headers that a page of the dashboard sends with each request. */
async function session(): Promise<{ cookie: string; 'x-offshoot-page': string }> {
  const [given = ''] = (await signIn()).headers['set-cookie'] ?? [];
  const cookie = given.split(';')[0] ?? '';
  const { text } = await ask('/dashboard', { headers: { ...AS_PAGE, cookie } });
  return { cookie, 'x-offshoot-page': /&quot;page&quot;:&quot;([\w-]{43})&quot;/.exec(text)?.[1] ?? '' };
}

/** The first event of a live view, and how long it took. */
async function look<K extends keyof Pages>(
  view: K,
  query: string,
  headers: Record<string, string>,
): Promise<{ ms: number; data: Pages[K] }> {
  const begun = performance.now();
  const response = await open(`/dashboard/live/${view}?${query}`, { headers });
  let text = '';
  for await (const piece of response) {
    text += String(piece);
    if (text.includes('\n\n')) break;
  }
  const ms = performance.now() - begun;
  response.destroy();
  return { ms, data: JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? '') as Pages[K] };
}

describe('signing in', () => {
  test('signing in is refused from another site, and with a truncated key', async () => {
    expect((await signIn(AS_STRANGER)).status).toBe(403);
    const refused = await ask('/dashboard/session', {
      method: 'POST',
      headers: AS_SCRIPT,
      body: { key: platform.key.slice(0, -1) },
    });
    expect(refused.status).toBe(401);
    expect(refused.headers['set-cookie']).toBeUndefined();
  });

  test('the session cookie is limited to the dashboard, and to https where the request came by https [DA1]', async () => {
    const [plain = ''] = (await signIn()).headers['set-cookie'] ?? [];
    expect(plain).toMatch(/^offshoot_session=[\w-]{43};.*Path=\/dashboard;.*HttpOnly; SameSite=Strict$/);
    const [secure = ''] =
      (await signIn({ ...AS_SCRIPT, 'x-forwarded-proto': 'https' })).headers['set-cookie'] ?? [];
    expect(secure).toContain('Secure');
  });

  test('Redis has neither the cookie nor the key [DA1]', async () => {
    const { cookie } = await session();
    const redis = connectRedis(platform.redis.url, 'commands', pino({ level: 'silent' }));
    await once(redis, 'ready');
    const names = await redis.keys('offshoot:session:*');
    expect(names.length).toBeGreaterThan(0);
    const stored = (await Promise.all(names.map((name) => redis.get(name)))).join('\n') + names.join('\n');
    expect(stored).not.toContain(cookie.split('=')[1]);
    expect(stored).not.toContain(platform.key);
    for (const name of names) expect(await redis.ttl(name)).toBeGreaterThan(3_600);
    redis.disconnect();
  });
});

describe('access to data', () => {
  const PATHS = ['/dashboard/live/functions', '/dashboard/api/v1/functions'];

  test('data is sent for the cookie together with the page secret, and for neither alone [DA2]', async () => {
    const both = await session();
    const { cookie } = both;
    for (const path of PATHS) {
      expect((await ask(path)).status).toBe(401);
      expect((await ask(path, { headers: { cookie } })).status).toBe(403);
      expect((await ask(path, { headers: { ...both, 'x-offshoot-page': 'a'.repeat(43) } })).status).toBe(403);
      expect((await ask(path, { headers: { 'x-offshoot-page': both['x-offshoot-page'] } })).status).toBe(401);
    }
    expect((await ask(PATHS[1] ?? '', { headers: both })).status).toBe(200);
  });

  test('the names of a function’s variables are shown, their values are not sent', async () => {
    const response = await open('/dashboard/live/function?namespace=default&name=hello-fetch', {
      headers: await session(),
    });
    let text = '';
    for await (const piece of response) {
      text += String(piece);
      if (text.includes('\n\n')) break;
    }
    response.destroy();
    expect(text).toContain('DB_PASSWORD');
    expect(text).not.toContain('hunter2');
  });

  test('a session is not accepted by the public API, and an API key is not accepted by the dashboard', async () => {
    expect((await ask('/api/v1/functions', { headers: await session() })).status).toBe(401);
    const bearer = { authorization: `Bearer ${platform.key}` };
    expect((await ask('/dashboard/api/v1/functions', { headers: bearer })).status).toBe(401);
    expect((await ask('/api/v1/functions', { headers: bearer })).status).toBe(200);
  });

  test('the page secret is in a page that a browser navigates to, and in no answer that a script fetches', async () => {
    const { cookie, ...page } = await session();
    const secret = page['x-offshoot-page'];
    expect(secret).toHaveLength(43);
    for (const headers of [
      AS_SCRIPT,
      { ...AS_PAGE, 'sec-fetch-dest': 'iframe' },
      { ...AS_PAGE, 'sec-fetch-mode': 'same-origin' },
      {},
    ]) {
      const { status, text } = await ask('/dashboard', { headers: { ...headers, cookie } });
      expect(status).toBe(200);
      expect(text).not.toContain(secret);
    }
  });

  test('a page may load nothing but its own files, and allows no frame and no opener', async () => {
    const { headers } = await ask('/dashboard', { headers: AS_PAGE });
    expect(headers['content-security-policy']).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; .*frame-ancestors 'none'/,
    );
    expect(headers['content-security-policy']).not.toContain('unsafe');
    expect(headers).toMatchObject({
      'cross-origin-opener-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    });
  });

  test('a session may have ten streams at a time, and no more', async () => {
    const headers = await session();
    const streams = await Promise.all(
      Array.from({ length: 10 }, () => open('/dashboard/live/workers', { headers })),
    );
    for (const { statusCode } of streams) expect(statusCode).toBe(200);
    const refused = await ask('/dashboard/live/workers', { headers });
    expect(refused.status).toBe(429);
    expect(refused.text).toContain('too_many_streams');
    for (const stream of streams) stream.destroy();
    await expect
      .poll(
        async () => {
          const again = await open('/dashboard/live/workers', { headers });
          again.destroy();
          return again.statusCode;
        },
        { timeout: 5_000 },
      )
      .toBe(200);
  });
});

describe('ten thousand invocations', () => {
  const COUNT = 10_000;
  let oldest = 0;
  let traceId = '';

  beforeAll(async () => {
    const record = await platform.record(await platform.call('hello-fetch'));
    const { logs: _logs, spans: _spans, isolation: _isolation, ...plain } = record;
    const redis = connectRedis(platform.redis.url, 'background', pino({ level: 'silent' }));
    await once(redis, 'ready');
    const recent = keys.recent('default', 'hello-fetch');
    // One more is added, which is trimmed when the list is read.
    oldest = plain.startedAt - 10 * (COUNT - 1);
    ({ traceId } = plain);
    for (let from = 0; from < COUNT; from += 1_000) {
      const pipeline = redis.pipeline();
      for (let at = from; at < from + 1_000; at++) {
        const one: InvocationRecord = {
          ...plain,
          id: `many-${at}`,
          startedAt: plain.startedAt - 10 * (COUNT - at),
          ...(at % 100 === 50 && { outcome: 'error', message: 'thrown on purpose' }),
        };
        pipeline.set(keys.invocation(one.id), JSON.stringify(one), 'EX', 600);
        pipeline.zadd(recent, one.startedAt, one.id);
      }
      await pipeline.exec();
    }
    redis.disconnect();
  }, 60_000);

  test('ten thousand invocations are listed and filtered completely; the time it takes is printed [DA9]', async () => {
    const headers = await session();
    const first = await look('invocations', 'outcome=failed', headers);
    expect(first.data).toMatchObject({ looked: COUNT, matched: COUNT / 100 });
    const times: number[] = [];
    for (const query of [
      'outcome=failed',
      'slower=100000',
      'function=default/hello-fetch',
      'trace=nothing',
      '',
    ]) {
      times.push((await look('invocations', query, headers)).ms);
    }
    console.log(
      `10,000 invocations: ${first.ms.toFixed(0)} ms at first, then ${times.map((ms) => ms.toFixed(0)).join(', ')} ms`,
    );
  });

  test('ten thousand invocations are listed and filtered by the API as well', async () => {
    await platform.api('/invocations?outcome=error&limit=1000');
    const begun = performance.now();
    const answer = await platform.api('/invocations?outcome=error&limit=1000');
    const { invocations } = (await answer.json()) as { invocations: unknown[] };
    const ms = performance.now() - begun;
    console.log(`by the API: ${ms.toFixed(0)} ms`);
    expect(invocations).toHaveLength(COUNT / 100);
  });

  test('the page of a function says how far back its kept invocations reach [DA11]', async () => {
    const headers = await session();
    const { data } = await look('function', 'namespace=default&name=hello-fetch&minutes=60', headers);
    expect(data).toMatchObject({ since: oldest, kept: COUNT, traffic: { count: COUNT } });
    // The rate is computed over the hundred seconds that they reach back, not over the hour.
    expect(data.traffic.perMinute).toBeGreaterThan(COUNT / 5);
  });

  test('a trace of ten thousand invocations is cut, and the trace says so', async () => {
    const answer = await platform.api(`/traces/${traceId}`);
    const whole = WholeTrace.parse(await answer.json());
    expect(whole.invocations).toHaveLength(MAX_TRACE_INVOCATIONS);
    expect(whole.invocationsCut).toBe(COUNT - MAX_TRACE_INVOCATIONS);
  });
});

test('the number of dead letters says that it is a lower bound when there are more than are listed', async () => {
  const headers = await session();
  const record = await platform.record(await platform.call('hello-fetch'));
  const { logs: _logs, spans: _spans, isolation: _isolation, ...plain } = record;
  const redis = connectRedis(platform.redis.url, 'background', pino({ level: 'silent' }));
  await once(redis, 'ready');
  const add = async (from: number, to: number): Promise<QueueRow | undefined> => {
    for (let at = from; at < to; at++) {
      const one = { ...plain, id: `dead-${at}`, lane: 'queued', outcome: 'error', dead: 'attempts_used' };
      await redis.set(keys.invocation(one.id), JSON.stringify(one), 'EX', 600);
      await redis.zadd(keys.dead('default'), plain.startedAt + at, one.id);
    }
    return (await look('queues', '', headers)).data.queues[0];
  };
  expect(await add(0, 200)).toMatchObject({ dead: 200, deadMore: false });
  // The page may show figures of a moment ago, so it is read again, below the limit of streams of a session.
  await expect
    .poll(() => add(200, 205), { interval: 600, timeout: 10_000 })
    .toMatchObject({ dead: 200, deadMore: true });
  redis.disconnect();
  const { data } = await look('namespaces', '', headers);
  expect(data.namespaces[0]).toMatchObject({ dead: 200, deadMore: true });
});
