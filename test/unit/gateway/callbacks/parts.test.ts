/** The parts of callbacks: their signatures, their content, and their retries. */
import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from 'vitest';
import type { Callback, InvocationRecord } from '#contract/invocations/invocation.ts';
import { CallbackBody } from '#contract/invocations/callback.ts';
import { encodePayload, type HeaderList } from '#contract/wire/payload.ts';
import { callbackBody } from '../../../../gateway/callbacks/body.ts';
import { afterDelivery, bound, type Tried } from '../../../../gateway/callbacks/delivery-retry.ts';
import { newSecret, signatureHeaders } from '../../../../gateway/callbacks/signature.ts';
import { queuedOptions } from '../../../../gateway/queued/options.ts';
import { requestMeta } from '../../../../gateway/call/request.ts';
import { verify } from '../../../support/servers/receiver.ts';

describe('a signature', () => {
  test('a signature is that of the vector in the test suites of the specification [CB3]', () => {
    const headers = signatureHeaders(
      'msg_p5jXN8AQM9LWM0D4loKWxJek',
      1_614_265_330,
      Buffer.from('{"test": 2432232314}'),
      ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
    );
    expect(headers).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  test('each secret has a signature, and the public library finds its own', () => {
    const [one, two, other] = [newSecret(), newSecret(), newSecret()];
    const text = '{"a":"ü"}';
    const headers = signatureHeaders('id', Math.floor(Date.now() / 1000), Buffer.from(text), [one, two]);
    verify(one, { text, headers });
    verify(two, { text, headers });
    expect(() => verify(other, { text, headers })).toThrow('signature');
  });

  test('a secret has a length that the specification allows', () => {
    const bytes = Buffer.from(newSecret().slice('whsec_'.length), 'base64').length;
    expect(bytes).toBeGreaterThanOrEqual(24);
    expect(bytes).toBeLessThanOrEqual(64);
    expect(newSecret()).not.toBe(newSecret());
  });
});

describe('after a delivery', () => {
  const terms = { attempts: 8, firstDelayMs: 5_000, lastDelayMs: 64_800_000 };
  const at = (attempts: number): Callback => ({ url: 'http://a/', state: 'pending', attempts });
  const after = (attempts: number, tried: Tried, random = 0.5): Callback =>
    afterDelivery(at(attempts), tried, terms, 1_000_000, random);

  test('no delivery follows after 2xx, 410 and a refusal', () => {
    expect(after(3, { status: 204 })).toEqual({
      url: 'http://a/',
      state: 'delivered',
      attempts: 3,
      lastStatus: 204,
    });
    expect(after(1, { status: 410 })).toMatchObject({ state: 'failed', lastStatus: 410 });
    expect(after(1, { error: 'refused', final: true })).toMatchObject({
      state: 'failed',
      lastError: 'refused',
    });
  });

  test.each([301, 400, 404, 408, 429, 500, 503])('another delivery follows after %i', (status) => {
    expect(after(1, { status })).toMatchObject({ state: 'pending', lastStatus: status, nextAt: 1_002_500 });
    expect(after(8, { status })).toEqual(
      expect.not.objectContaining({ nextAt: expect.anything() as unknown }),
    );
    expect(after(8, { status })).toMatchObject({ state: 'failed' });
  });

  test('the wait is drawn from 0 to a bound that grows from the first to the last, over a day in all [CB4]', () => {
    const bounds = [1, 2, 3, 4, 5, 6, 7].map((attempt) => bound(attempt, terms));
    expect(bounds[0]).toBe(5_000);
    expect(bounds[6]).toBeCloseTo(64_800_000, 0);
    for (const [index, one] of bounds.entries())
      if (index > 0) expect(one).toBeGreaterThan(bounds[index - 1] ?? 0);
    const hours = bounds.reduce((sum, one) => sum + one, 0) / 3_600_000;
    expect(hours).toBeGreaterThan(20);
    expect(hours).toBeLessThan(28);
    expect(after(7, { status: 500 }, 0).nextAt).toBe(1_000_000);
    expect(after(7, { status: 500 }, 0.999).nextAt).toBeLessThanOrEqual(1_000_000 + 64_800_000);
    expect(bound(1, { attempts: 2, firstDelayMs: 10, lastDelayMs: 5 })).toBe(10);
  });

  test('the wait is as long as Retry-After asks for, a day at most', () => {
    expect(after(1, { status: 503, retryAfter: '60' }).nextAt).toBe(1_060_000);
    expect(after(1, { status: 503, retryAfter: '999999' }).nextAt).toBe(1_000_000 + 86_400_000);
    expect(after(1, { status: 503, retryAfter: 'soon' }).nextAt).toBe(1_002_500);
  });
});

describe('the content of a callback', () => {
  const record = {
    id: 'one',
    namespace: 'n',
    name: 'f',
    version: 2,
    lane: 'queued',
    state: 'done',
    outcome: 'ok',
    status: 200,
    startedAt: 1_700_000_000_000,
    duration: 5,
    attempts: [],
  } as unknown as InvocationRecord;
  const told = (headers: HeaderList, body: Uint8Array): { text: string; body: CallbackBody } => {
    const text = callbackBody(record, encodePayload({ status: 200, headers }, body)).toString();
    return { text, body: CallbackBody.parse(JSON.parse(text)) };
  };
  const JSON_TYPE: HeaderList = [['Content-Type', 'application/json; charset=utf-8']];

  test('a callback holds the JSON of the function unchanged, number for number', () => {
    const { text, body } = told(JSON_TYPE, Buffer.from('{"large": 12345678901234567890}'));
    expect(text).toContain('"body":{"large": 12345678901234567890}');
    expect(body).toMatchObject({ timestamp: '2023-11-14T22:13:20.005Z', result: { encoding: 'json' } });
    const deep = '['.repeat(50_000) + ']'.repeat(50_000);
    expect(
      callbackBody(record, encodePayload({ status: 200, headers: JSON_TYPE }, Buffer.from(deep))).toString(),
    ).toContain(deep);
  });

  test.each<[string, HeaderList, Buffer]>([
    ['is not called JSON', [['content-type', 'text/plain']], Buffer.from('{}')],
    ['is called JSON and is none', JSON_TYPE, Buffer.from('{"a":1}}, "forged": {"b":1')],
    ['is no text', JSON_TYPE, Buffer.from([0xff, 0xfe, 0x00])],
    ['is nothing', [], Buffer.alloc(0)],
  ])('is base64 where it %s', (_, headers, bytes) => {
    const { result } = told(headers, bytes).body;
    expect(result).toMatchObject({ encoding: 'base64', body: bytes.toString('base64') });
  });

  test('a callback holds the address of a result over 256 KB', () => {
    expect(told(JSON_TYPE, Buffer.from(`"${'x'.repeat(262_142)}"`)).body.result).toBeDefined();
    expect(told(JSON_TYPE, Buffer.from(`"${'x'.repeat(262_143)}"`)).body).toMatchObject({
      resultUrl: '/api/v1/invocations/one/result',
    });
  });

  test('a callback has no result where the invocation has none', () => {
    expect(Object.keys(JSON.parse(callbackBody(record, undefined).toString()) as object)).not.toContain(
      'result',
    );
    expect(callbackBody(record, Buffer.from('hostile')).toString()).not.toContain('hostile');
  });
});

test('the callback header is not shown to the function', () => {
  const rawHeaders = [
    'Host',
    'a',
    'X-Offshoot-Callback',
    'https://example.com/?token=secret',
    'X-Other',
    'kept',
  ];
  const request = { headers: { host: 'a' }, rawHeaders, method: 'POST', socket: {} };
  const meta = requestMeta(
    request as unknown as IncomingMessage,
    { namespace: 'n', name: 'f', rest: '/' },
    { trustProxy: false, keyHeader: undefined },
    0,
  );
  expect(JSON.stringify(meta)).not.toContain('secret');
  expect(meta?.headers).toContainEqual(['x-other', 'kept']);
});

test('the callback header must be an http or https URL without credentials', () => {
  const read = (url: string): string | undefined => queuedOptions({ 'x-offshoot-callback': url }).callbackUrl;
  expect(read('https://Example.com/a b#c')).toBe('https://example.com/a%20b');
  for (const wrong of [
    '',
    'example.com',
    'file:///etc/passwd',
    'https://me@example.com',
    'https://:p@example.com',
  ])
    expect(() => read(wrong)).toThrow('x-offshoot-callback');
  expect(() => read(`https://example.com/${'x'.repeat(2_048)}`)).toThrow('x-offshoot-callback');
});
