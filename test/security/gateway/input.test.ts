/**
 * Requests that are too large, or that two readers understand differently: each is refused early, and stalls no other
 * request.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { packed, type Entry } from '../abuse/archives.ts';
import { deployArchive, peakMb } from '../abuse/platform.ts';
import { answerOf, connect, head, raw, type RawAnswer } from './raw.ts';

const MB = 1024 * 1024;
/** Answer of a function that needs a key; no request without a key may ever get it. */
const SECRET = `secret-${randomBytes(8).toString('hex')}`;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_MAX_BODY_BYTES: String(2 * MB) });
  await platform.deploy('hello-fetch', { name: 'honest' });
  const echo: Entry = [
    { name: 'index.mjs' },
    `export default { fetch: async (request) => Response.json({
      url: request.url, method: request.method, bytes: (await request.arrayBuffer()).byteLength }) };`,
  ];
  const secret: Entry = [{ name: 'index.mjs' }, `export default { fetch: () => new Response('${SECRET}') };`];
  expect(await deployArchive(platform, 'echo', await packed([echo]))).toBeUndefined();
  expect(await deployArchive(platform, 'secret', await packed([secret]), { access: 'key' })).toBeUndefined();
}, 90_000);
afterAll(() => platform.stop());
afterEach(async () => {
  expect((await platform.call('honest')).status).toBe(200);
  expect(platform.output).not.toMatch(/a request failed|a call could not be handled/);
});

const auth = (): string => `Authorization: Bearer ${platform.key}`;

describe('bodies and headers', () => {
  const doors = [
    '/fn/default/echo',
    '/api/v1/keys',
    `/api/v1/artifacts/${'0'.repeat(64)}`,
    '/api/v1/functions/default/echo/invoke',
  ];
  const verb = (path: string): string => (path.includes('artifacts') ? 'PUT' : 'POST');

  test.each(doors)('G3 body-bomb: a gigabyte announced to %s is refused before it is sent', async (path) => {
    const answer = await raw(
      platform,
      head(`${verb(path)} ${path}`, [
        auth(),
        'Content-Type: application/json',
        `Content-Length: ${1024 * MB}`,
      ]),
    );
    expect([400, 413]).toContain(answer.status);
  });

  test.each(doors)(
    'G3 body-bomb: chunks without end to %s are refused soon, in bounded memory [GW3]',
    async (path) => {
      const before = peakMb(platform.pid('gateway'));
      const socket = await connect(platform);
      socket.write(
        head(`${verb(path)} ${path}`, [
          auth(),
          'Content-Type: application/json',
          'Transfer-Encoding: chunked',
        ]),
      );
      const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(MB, 0x20), Buffer.from('\r\n')]);
      const answered = answerOf(socket, 10_000);
      let sent = 0;
      while (!socket.destroyed && sent < 400) {
        if (socket.writableLength > 4 * MB) await sleep(2);
        else {
          socket.write(chunk);
          sent++;
        }
      }
      expect([400, 413]).toContain((await answered).status);
      expect(sent).toBeLessThan(400);
      expect(peakMb(platform.pid('gateway')) - before).toBeLessThan(200);
    },
  );

  test('G3 body-bomb: a gzip bomb is not unpacked by the gateway, on either door', async () => {
    const before = peakMb(platform.pid('gateway'));
    const bomb = new Uint8Array(gzipSync(Buffer.alloc(400 * MB)));
    const headers = { 'content-encoding': 'gzip', 'content-type': 'application/json' };
    const called = await platform.call('echo', { method: 'POST', body: bomb, headers });
    // The body reaches the function byte for byte.
    expect(await called.json()).toMatchObject({ bytes: bomb.byteLength });
    const request = head('POST /api/v1/keys', [
      auth(),
      'Content-Type: application/json',
      'Content-Encoding: gzip',
      `Content-Length: ${bomb.byteLength}`,
    ]);
    expect((await raw(platform, Buffer.concat([Buffer.from(request), bomb]))).status).toBe(400);
    expect(peakMb(platform.pid('gateway')) - before).toBeLessThan(100);
  });

  test.each<readonly [string, () => string]>([
    [
      'a hundred thousand headers',
      () =>
        head(
          'GET /fn/default/echo',
          Array.from({ length: 100_000 }, (_, index) => `a${index}: b`),
        ),
    ],
    ['a header of a megabyte', () => head('GET /fn/default/echo', [`a: ${'b'.repeat(MB)}`])],
    ['a request line of a megabyte', () => head(`GET /fn/default/echo?${'q'.repeat(MB)}`)],
    [
      'a cookie of a megabyte to the management',
      () => head('GET /api/v1/whoami', [auth(), `cookie: ${'b'.repeat(MB)}`]),
    ],
  ])('G3 body-bomb: %s, refused with 431 as soon as there are 32 KB', async (_, request) => {
    const bytes = request();
    expect((await raw(platform, bytes.slice(0, 48 * 1024))).status).toBe(431);
    // A client that goes on sending may find the connection cut before it has read the reason.
    expect([0, 431]).toContain((await raw(platform, bytes)).status);
  });

  test.each<readonly [string, readonly string[], string]>([
    [
      'both lengths',
      ['Content-Length: 5', 'Transfer-Encoding: chunked'],
      '0\r\n\r\nGET /fn/default/secret HTTP/1.1\r\nHost: x\r\n\r\n',
    ],
    ['two lengths', ['Content-Length: 5', 'Content-Length: 6'], 'hello!'],
    ['a negative length', ['Content-Length: -1'], ''],
    ['a length in hexadecimal', ['Content-Length: 0x5'], 'hello'],
    ['a length with a sign', ['Content-Length: +5'], 'hello'],
    ['an encoding that is not the last', ['Transfer-Encoding: chunked, identity'], '0\r\n\r\n'],
    ['an obscured encoding', ['Transfer-Encoding: xchunked'], '0\r\n\r\n'],
    [
      'a chunk size beyond all numbers',
      ['Transfer-Encoding: chunked'],
      'fffffffffffffffff\r\nx\r\n0\r\n\r\n',
    ],
    ['a chunk size that is none', ['Transfer-Encoding: chunked'], 'zz\r\nx\r\n0\r\n\r\n'],
    ['a NUL in a header', ['a: b\0c'], ''],
    ['a bare line feed in a header', ['a: b\nTransfer-Encoding: chunked'], ''],
    ['a space before the colon', ['Content-Length : 5'], 'hello'],
    ['a folded header', ['a: b\r\n c: d'], ''],
  ])('G3 body-bomb: a request with %s is refused, and is not two requests', async (_, headers, body) => {
    const answer = await raw(platform, head('POST /fn/default/echo', headers) + body, 2_000);
    expect([400, 408, 411, 413, 501]).toContain(answer.status || 400);
    expect(answer.text.match(/HTTP\/1\.1 /g)?.length ?? 0).toBeLessThanOrEqual(1);
    expect(answer.text).not.toContain(SECRET);
  });
});

describe('JSON', () => {
  const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  const manifest = (inside: string): string =>
    `{"digest":"${'0'.repeat(64)}","entryFile":"index.mjs","manifest":{"name":"x",${inside}}}`;
  const keys = (count: number, prefix = 'k'): string =>
    Array.from({ length: count }, (_, index) => `"${prefix}${index}":1`).join(',');

  const bombs: readonly (readonly [string, string])[] = [
    ['arrays a hundred thousand deep', deep(100_000)],
    ['objects fifty thousand deep', '{"a":'.repeat(50_000) + '1' + '}'.repeat(50_000)],
    ['a manifest a hundred thousand deep', manifest(`"env":{"A":${deep(100_000)}}`)],
    ['arrays that never end', '['.repeat(380_000)],
    [
      '__proto__',
      '{"__proto__":{"namespace":"*","scopes":["admin"]},"constructor":{"prototype":{"scopes":["admin"]}}}',
    ],
    [
      '__proto__ in a manifest',
      manifest('"__proto__":{"access":"public"},"env":{"__proto__":"x","constructor":"y"}'),
    ],
    ['duplicate keys', '{"namespace":"default","scopes":["read"],"scopes":["nothing"],"namespace":5}'],
    ['more keys than there is room for', `{${keys(60_000)}}`],
    ['as many keys as there is room for', `{${keys(35_000)}}`],
    ['a manifest of as many unknown keys', manifest(keys(35_000))],
    ['a manifest of one long unknown key', manifest(`"${'k'.repeat(380_000)}":1`)],
    ['a manifest of as many bad variables', manifest(`"env":{${keys(30_000, '-')}}`)],
    [
      'as many scopes as there is room for',
      `{"namespace":"default","scopes":[${Array.from({ length: 75_000 }, () => '"no"').join(',')}]}`,
    ],
    ['lone surrogates', '{"namespace":"\\ud800","scopes":["\\udfff"]}'],
    ['NaN', '{"namespace":"default","scopes":NaN}'],
    ['numbers beyond all numbers', manifest('"memory":1e400,"timeout":-1e400,"cpu":1e-400')],
    ['bytes that are no UTF-8', '{"namespace":"\u00ff\u00fe","scopes":[]}'],
    ['nothing', ''],
    ['null', 'null'],
  ];

  function post(path: string, body: string): Promise<RawAnswer> {
    const bytes = Buffer.from(body);
    const headers = [auth(), 'Content-Type: application/json', `Content-Length: ${bytes.length}`];
    return raw(platform, Buffer.concat([Buffer.from(head(`POST ${path}`, headers)), bytes]));
  }

  /** Longest wait, in milliseconds, of a request that needs nothing but the event loop, while `action` runs. */
  async function longestStall(action: () => Promise<unknown>): Promise<number> {
    let over = false;
    let longest = 0;
    const watching = (async () => {
      for (;;) {
        const start = performance.now();
        await (await fetch(`${platform.url}/nothing`)).text();
        longest = Math.max(longest, performance.now() - start);
        if (over) return;
      }
    })();
    try {
      await action();
    } finally {
      over = true;
      await watching;
    }
    return longest;
  }

  /**
   * The event loop stalls for under 50 ms more than with a harmless body sent at the same time. The cost of a bomb
   * recurs each time; other work of this machine does not.
   */
  async function expectNoStall(bomb: string, send: (body: string) => Promise<unknown>): Promise<void> {
    let harmless = Number.POSITIVE_INFINITY;
    let bombed = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 4; round++) {
      harmless = Math.min(harmless, await longestStall(() => send('[]')));
      bombed = Math.min(bombed, await longestStall(() => send(bomb)));
      if (bombed < 50) return;
    }
    expect(bombed - harmless).toBeLessThan(50);
  }

  test.each(bombs)(
    'G4 json-bomb: %s is refused without a stall and without a long answer [GW4]',
    async (_, bomb) => {
      for (const path of ['/keys', '/functions/default/x/versions', '/functions/default/echo/activate']) {
        await expectNoStall(bomb, async (body) => {
          // On a connection of its own: a refusal before the body was read costs the client its connection.
          const { status, text } = await post(`/api/v1${path}`, body);
          expect(status).toBeGreaterThanOrEqual(400);
          expect(status).toBeLessThan(500);
          expect(text.length).toBeLessThan(64 * 1024);
        });
      }
      // No request has made a key.
      const { keys: known } = (await (await platform.api('/keys')).json()) as { keys: unknown[] };
      expect(known).toHaveLength(1);
    },
    60_000,
  );

  test.each(bombs)('G4 json-bomb: %s, sent as an event, stalls nothing', (_, bomb) =>
    expectNoStall(bomb, async (body) => {
      const { status } = await post('/api/v1/functions/default/echo/invoke', body);
      expect(status).toBeGreaterThanOrEqual(200);
      expect(status).toBeLessThan(500);
    }),
  );
});

describe('paths', () => {
  const tricks = [
    '//fn/default/secret',
    '/fn//default/secret',
    '/fn/default//secret',
    '/fn/default/secret',
    '/fn/default/secret/',
    '/fn/default/secret//',
    '/fn/default/%73ecret',
    '/fn/default/secret%00',
    '/fn/default/secret%2f',
    '/fn/default/secret;x=1',
    '/fn/default/secret?x-api-key=osk_x',
    '/fn/default/secret#x',
    '/fn/default/SECRET',
    '/FN/default/secret',
    '/fn/DEFAULT/secret',
    '/%66n/default/secret',
    '/fn/default/echo/../secret',
    '/fn/default/echo/%2e%2e/secret',
    '/fn/default/echo%2f..%2fsecret',
    '/fn/default/echo\\..\\secret',
    '/fn/default/./secret',
    '/fn/default/%2e/secret',
    '/fn/default/echo/..%2fsecret',
    '/fn/other/../default/secret',
    '/healthz/../fn/default/secret',
    '/healthz/..;/fn/default/secret',
    '/fn/default/\u017fecret',
    '/fn/default/secre\u0074\u0301',
    'http://127.0.0.1/fn/default/secret',
    'http://evil.example//fn/default/secret',
    '/api/v1/keys',
    '//api/v1/keys',
    '/api//v1/keys',
    '/api/v1/keys/',
    '/api/v1/KEYS',
    '/api/v1/%6beys',
    '/api/v1/keys%00',
    '/api/v1/keys%20',
    '/api/v1/docs/../keys',
    '/api/v1/openapi.json/../keys',
    '/healthz/../api/v1/keys',
    '/healthz/%2e%2e/api/v1/keys',
    '/healthz%2f..%2fapi/v1/keys',
    '/fn/default/echo/../../../api/v1/keys',
    '/api/v1/functions/default/secret',
    '/api/v1/functions/default/secret/logs',
    'http://127.0.0.1/api/v1/keys',
    '/api/v1/invocations',
  ];
  const smuggled = [
    [],
    ['X-Original-URL: /fn/default/secret', 'X-Rewrite-URL: /api/v1/keys'],
    ['X-Forwarded-Prefix: /api/v1', 'X-Forwarded-Host: 127.0.0.1', 'Forwarded: for=127.0.0.1'],
    ['X-HTTP-Method-Override: GET', 'X-Method-Override: DELETE'],
    ['Authorization: Basic b3NrXzpvc2tf', 'X-Api-Key: '],
  ];

  test.each(tricks)('G6 path-trick: %s leads past no check [GW5]', async (path) => {
    for (const headers of smuggled) {
      for (const method of ['GET', 'POST', 'HEAD', 'OPTIONS', 'TRACE']) {
        const request = Buffer.from(
          head(`${method} ${path}`, [
            ...headers,
            'Connection: close',
            ...(method === 'POST' ? ['Content-Length: 0'] : []),
          ]),
          'utf8',
        );
        const { status, text } = await raw(platform, request);
        expect({
          method,
          path,
          status,
          leaks: text.includes(SECRET) || text.includes('"last4"') || text.includes('"versions"'),
        }).toEqual({
          method,
          path,
          status: expect.toSatisfy((code: number) => code < 500) as number,
          leaks: false,
        });
        // Either the public function answers, with the path as it was sent, or the request is refused.
        if (status === 200 && method === 'GET')
          expect(text).toMatch(/\/fn\/|"url":"http:\/\/127\.0\.0\.1\/|"url":"http:\/\/evil/);
      }
    }
  });
});
