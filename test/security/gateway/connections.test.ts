/**
 * A connection that is kept for the next request, which a proxy may send for another client. Either that request is
 * answered, or the answer before has said that the connection ends.
 */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { connect, head } from './raw.ts';

const KB = 1024;
const MB = 1024 * KB;
/**
 * Longer than the gateway waits for the rest of a body before it closes a connection, and longer than hono would wait.
 */
const PAUSE_MS = 2_500;
/** Next request of a client with a pool of connections. */
const NEXT = head('GET /healthz');

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_MAX_BODY_BYTES: String(MB) });
  await platform.deploy('hello-fetch', { name: 'open' });
}, 90_000);
afterAll(() => platform.stop());

interface Answer {
  readonly status: number;
  readonly head: string;
  readonly closes: boolean;
}

/** The answers of one connection, as they come. */
class Connection {
  readonly socket: Socket;
  #text = '';

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => (this.#text += chunk.toString('latin1')));
  }

  get isClosed(): boolean {
    return this.socket.closed || this.socket.readableEnded || this.socket.destroyed;
  }

  /** The next whole answer; undefined when the connection ends without one. */
  async answer(ms = 8_000): Promise<Answer | undefined> {
    for (const giveUp = performance.now() + ms; performance.now() < giveUp; await sleep(5)) {
      const end = this.#text.indexOf('\r\n\r\n');
      if (end !== -1) {
        const found = this.#text.slice(0, end);
        const length = Number(/^content-length: (\d+)/im.exec(found)?.[1] ?? 0);
        if (this.#text.length < end + 4 + length) continue;
        this.#text = this.#text.slice(end + 4 + length);
        return {
          status: Number(/^HTTP\/1\.1 (\d{3})/.exec(found)?.[1] ?? 0),
          head: found,
          closes: /^connection: close/im.test(found),
        };
      }
      if (this.isClosed) return undefined;
    }
    throw new Error(`there is no answer, and no end: ${this.#text.slice(0, 200)}`);
  }
}

const auth = (key = platform.key): string => `Authorization: Bearer ${key}`;
const json = 'Content-Type: application/json';
const length = (bytes: number): string => `Content-Length: ${bytes}`;
const chunked = 'Transfer-Encoding: chunked';
const inChunks = (bytes: Buffer, piece = 64 * KB): Buffer => {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += piece) {
    const part = bytes.subarray(at, at + piece);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
};
const white = (bytes: number): Buffer => Buffer.alloc(bytes, 0x20);

interface Case {
  readonly name: string;
  readonly line: string;
  readonly headers: () => readonly string[];
  /** Undefined: the client waits for 100 Continue before it sends the body. */
  readonly body: Buffer | undefined;
  readonly status: number;
  /** The answer comes only once all of the body was sent. */
  readonly whole?: boolean;
}

const cases: readonly Case[] = [
  ...[400 * KB, 600 * KB, 5 * MB].map((bytes) => ({
    name: `a body of ${bytes / KB} KB for the API`,
    line: 'POST /api/v1/keys',
    headers: () => [auth(), json, length(bytes)],
    body: white(bytes),
    status: 400,
  })),
  {
    name: 'a body in chunks for the API',
    line: 'POST /api/v1/keys',
    headers: () => [auth(), json, chunked],
    body: inChunks(white(MB)),
    status: 400,
  },
  ...[KB, 600 * KB].map((bytes) => ({
    name: `a body of ${bytes / KB} KB without a key`,
    line: 'POST /api/v1/keys',
    headers: () => [auth('osk_no'), json, length(bytes)],
    body: white(bytes),
    status: 401,
  })),
  {
    name: 'a body for a path that is not there',
    line: 'POST /nothing',
    headers: () => [length(600 * KB)],
    body: white(600 * KB),
    status: 404,
  },
  {
    name: 'a body for a page of the dashboard',
    line: 'POST /dashboard/session',
    headers: () => ['Sec-Fetch-Site: same-origin', json, length(600 * KB)],
    body: white(600 * KB),
    status: 400,
  },
  {
    name: 'a body over the limit of a function',
    line: 'POST /fn/default/open',
    headers: () => [length(2 * MB)],
    body: white(2 * MB),
    status: 413,
  },
  {
    name: 'a body in chunks over the limit of a function',
    line: 'POST /fn/default/open',
    headers: () => [chunked],
    body: inChunks(white(3 * MB)),
    status: 413,
  },
  ...[KB, 600 * KB].map((bytes) => ({
    name: `a body of ${bytes / KB} KB for a function that is not there`,
    line: 'POST /fn/default/nothing',
    headers: () => [length(bytes)],
    body: white(bytes),
    status: 404,
  })),
  {
    name: 'an event over the limit',
    line: 'POST /api/v1/functions/default/open/invoke',
    headers: () => [auth(), json, length(2 * MB)],
    body: white(2 * MB),
    status: 413,
  },
  {
    name: 'a batch with a bad item in front',
    line: 'POST /api/v1/functions/default/open/batches',
    headers: () => [auth(), json, length(2 * MB)],
    body: white(2 * MB).fill('x', 0, 1),
    status: 400,
  },
  {
    name: 'a batch of no form',
    line: 'POST /api/v1/functions/default/open/batches',
    headers: () => [auth(), 'Content-Type: text/plain', length(600 * KB)],
    body: white(600 * KB),
    status: 400,
  },
  {
    name: 'an archive that is too large',
    line: `PUT /api/v1/artifacts/${'0'.repeat(64)}`,
    headers: () => [auth(), length(100 * MB)],
    body: white(2 * MB),
    status: 413,
  },
  {
    name: 'an archive that is not what it says',
    line: `PUT /api/v1/artifacts/${'0'.repeat(64)}`,
    headers: () => [auth(), length(600 * KB)],
    body: white(600 * KB),
    status: 400,
    whole: true,
  },
  {
    name: 'a body that is asked for in vain, of a function',
    line: 'POST /fn/default/nothing',
    headers: () => [length(KB), 'Expect: 100-continue'],
    body: undefined,
    status: 404,
  },
  {
    name: 'a GET with a body',
    line: 'GET /api/v1/whoami',
    headers: () => [auth(), length(600 * KB)],
    body: white(600 * KB),
    status: 200,
  },
];

test.each(cases)(
  'G10 connections: after $name, the next request is answered, or the answer said that the connection ends [GW10]',
  { timeout: 30_000 },
  async ({ line, headers, body, status, whole }) => {
    // Sends the body at once, or half of it only after the answer, as a slow client does.
    for (const late of body === undefined ? [true] : whole === true ? [false] : [false, true]) {
      const connection = new Connection(await connect(platform));
      const { socket } = connection;
      socket.write(head(line, headers()));
      const half = body ? Math.floor(body.length / 2) : 0;
      if (body) socket.write(late ? body.subarray(0, half) : body);
      const answer = await connection.answer();
      expect(answer?.status).toBe(status);
      if (answer?.closes === true) {
        // The client may go on sending, and must not be reset before it has read the answer.
        if (late && body && !connection.isClosed) socket.write(body.subarray(half));
        await expect.poll(() => connection.isClosed, { timeout: 5_000 }).toBe(true);
        continue;
      }
      if (late && body) socket.write(body.subarray(half));
      await sleep(PAUSE_MS);
      socket.write(NEXT);
      const next = await connection.answer();
      expect(next?.status, 'the next request on a connection that was to be kept').toBe(200);
      socket.destroy();
    }
  },
);

/** Requests that the HTTP parser itself refuses. */
test.each<readonly [string, string, number]>([
  ['headers that are too large', head('GET /fn/default/open', [`a: ${'b'.repeat(40 * KB)}`]), 431],
  ['a request that is none', 'NONSENSE\r\n\r\n', 400],
  ['two lengths', head('POST /fn/default/open', ['Content-Length: 5', 'Content-Length: 6']), 400],
  ['no host', 'GET /fn/default/open HTTP/1.1\r\n\r\n', 400],
  [
    'an extension of a chunk without end',
    `${head('POST /fn/default/open', [chunked])}1;${'x'.repeat(40 * KB)}`,
    413,
  ],
])('G10 connections: %s', async (_, bytes, status) => {
  const connection = new Connection(await connect(platform));
  connection.socket.write(bytes);
  const answer = await connection.answer();
  expect(answer).toMatchObject({ status, closes: true });
  await expect.poll(() => connection.isClosed, { timeout: 5_000 }).toBe(true);
});

test(
  'G10 connections: a hundred requests on one connection, each with a body that is read, are all answered',
  { timeout: 30_000 },
  async () => {
    const connection = new Connection(await connect(platform));
    for (let at = 0; at < 100; at++) {
      connection.socket.write(
        Buffer.concat([Buffer.from(head('POST /fn/default/open', [length(KB)])), white(KB)]),
      );
      expect(await connection.answer()).toMatchObject({ status: 200, closes: false });
      connection.socket.write(
        Buffer.concat([Buffer.from(head('POST /api/v1/keys', [auth(), json, length(KB)])), white(KB)]),
      );
      expect(await connection.answer()).toMatchObject({ status: 400, closes: false });
    }
    connection.socket.destroy();
  },
);
