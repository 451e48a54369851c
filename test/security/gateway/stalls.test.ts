/**
 * Bytes chosen by a tenant, up to 10 MB, never hold up the event loops of gateway and worker, which serve all tenants.
 * The longest stall of each is printed, and the other tenant's 99th percentile.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packed, type Entry } from '../abuse/archives.ts';
import { deployArchive } from '../abuse/platform.ts';
import { stallOf, WatchedPlatform } from './stalls.ts';

const MB = 1024 * 1024;
const BYTES = 10 * MB;
/** Upper bound on the loop's own work between two beats, in milliseconds; SPECIFICATION.md, W4. */
const LONGEST_MS = 50;
/**
 * Upper bound on the other tenant's 99th percentile. It allows for the machine's other work and for the work of these
 * tests, and is still below a loop that stands still for seconds.
 */
const P99_MS = 3_000;

let watched: WatchedPlatform;
beforeAll(async () => {
  watched = await WatchedPlatform.start();
  await deploy('sink', SINK, { batch: { size: 1_000 } });
  await deploy('answers', ANSWERS, { batch: { size: 60 }, memory: 512 });
  await deploy('talker', TALKER, { logSize: 1_024, memory: 512 });
}, 120_000);
afterAll(() => watched.stop(), 60_000);

const SINK = `export default { fetch: () => new Response('ok'), queue: () => undefined };`;
/** Makes text of the given bytes that costs a JSON parser as much as possible. */
const MAKE = `
  const made = {
    deep: (bytes) => '['.repeat(bytes / 2) + ']'.repeat(bytes / 2),
    flat: (bytes) => '[' + '1,'.repeat(bytes / 2 - 1) + '1]',
    objects(bytes) {
      let text = '[';
      for (let at = 0; text.length < bytes - 20; at++) text += '{"q' + at + '":1},';
      return text + '1]';
    },
  };`;
/** Each item returns as many bytes as one result may have. */
const ANSWERS = `${MAKE}
  export default { queue(batch) {
    const result = JSON.parse(made[batch.messages[0].body](250 * 1024));
    for (const message of batch.messages) message.ack(result);
  } };`;
const TALKER = `${MAKE}
  const print = (text) => { for (let at = 0; at < 256 * 1024; at += text.length) console.log(text); };
  const kinds = {
    lines: () => print('x'.repeat(40)),
    controls: () => print('\\u0080'.repeat(4000)),
    json: () => new Response(made.objects(250 * 1024), { headers: { 'content-type': 'application/json' } }),
    error: () => { throw new Error('x'.repeat(200 * 1024)); },
    spans() {
      const tracer = globalThis[Symbol.for('opentelemetry.js.api.1')].trace.getTracer('t');
      for (let at = 0; at < 120; at++) {
        const span = tracer.startSpan('s' + at);
        for (let key = 0; key < 9; key++) span.setAttribute('q' + at + '_' + key, key);
        span.end();
      }
    },
  };
  export default { fetch: (request) => kinds[new URL(request.url).searchParams.get('kind')]() ?? new Response('ok') };`;

async function deploy(name: string, code: string, manifest: object): Promise<void> {
  const archive = await packed([[{ name: 'index.mjs' }, code]]);
  expect(await deployArchive(watched.platform, name, archive, { ...manifest })).toBeUndefined();
}

interface Sent {
  readonly type?: string;
  readonly headers?: Record<string, string>;
}

/** Sends `body`, if any, by POST. Resolves to status and text. */
async function send(
  path: string,
  body?: Buffer,
  { type = ARRAY, headers = {} }: Sent = {},
): Promise<{ status: number; text: string }> {
  const response = await fetch(watched.platform.url + path, {
    headers: { authorization: `Bearer ${watched.platform.key}`, 'content-type': type, ...headers },
    ...(body && { method: 'POST', body: new Uint8Array(body) }),
  });
  return { status: response.status, text: await response.text() };
}

const ARRAY = 'application/json';
const LINES = 'application/x-ndjson';

/** Runs `act` while the other tenant calls, and checks that neither loop stalls. */
async function expectNoStall(name: string, act: () => Promise<unknown>): Promise<void> {
  const { gateway, worker, p99, calls } = await watched.during(act);
  const ms = (time: number): string => `${time.toFixed(0)} ms`;
  console.log(
    `${name}: gateway ${ms(gateway.cpu)} (${ms(gateway.wall)} by the clock), worker ${ms(worker.cpu)} (${ms(worker.wall)}), collections ${ms(Math.max(gateway.gc, worker.gc))}, p99 ${ms(p99)} of ${calls} calls`,
  );
  expect(gateway.cpu, `${name}: stall of the gateway`).toBeLessThan(LONGEST_MS);
  expect(worker.cpu, `${name}: stall of the worker`).toBeLessThan(LONGEST_MS);
  expect(p99, `${name}: 99th percentile of the other tenant`).toBeLessThan(P99_MS);
}

/** Pieces made one after the other until they have `bytes` bytes together. */
function upTo(bytes: number, piece: (at: number) => string): string {
  const pieces: string[] = [];
  for (let at = 0, size = 0; size < bytes; at++) {
    const next = piece(at);
    pieces.push(next);
    size += next.length;
  }
  return pieces.join('');
}
const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
const objects = (bytes: number, name = ''): string => `[${upTo(bytes, (at) => `{"q${name}${at}":1},`)}1]`;

describe('items of batches', () => {
  const few = MB / 4;
  const bombs: readonly { name: string; body: string; type: string; status: number; taken?: number }[] = [
    {
      name: 'an array of items 20,000 deep',
      body: `[${upTo(BYTES, () => `${deep(20_000)},`)}1]`,
      type: ARRAY,
      status: 400,
      taken: 0,
    },
    {
      name: 'an array of items as deep as may be',
      body: `[${upTo(BYTES, () => `${deep(1_000)},`)}1]`,
      type: ARRAY,
      status: 202,
    },
    { name: 'an array of numbers', body: `[${'1,'.repeat(few)}1]`, type: ARRAY, status: 202, taken: few + 1 },
    {
      name: 'an array of large items',
      body: `[${upTo(BYTES, (at) => `${objects(250_000, `${at}_`)},`)}1]`,
      type: ARRAY,
      status: 202,
    },
    { name: 'an array of spaces', body: `[1,${' '.repeat(BYTES)}2]`, type: ARRAY, status: 202, taken: 2 },
    { name: 'an item that never ends', body: `["${'x'.repeat(BYTES)}`, type: ARRAY, status: 400, taken: 0 },
    {
      name: 'lines 100,000 deep',
      body: upTo(BYTES, () => `${deep(100_000)}\n`),
      type: LINES,
      status: 400,
      taken: 0,
    },
    {
      name: 'lines of large items',
      body: upTo(BYTES, (at) => `${objects(250_000, `${at}_`)}\n`),
      type: LINES,
      status: 202,
    },
    { name: 'lines of numbers', body: '1\n'.repeat(few), type: LINES, status: 202, taken: few },
    { name: 'blank lines', body: '\n'.repeat(BYTES), type: LINES, status: 202, taken: 0 },
  ];
  test.each(bombs)(
    'G9 stalls: $name, sent as a batch, stalls no event loop [GW4]',
    { timeout: 120_000 },
    async ({ name, body, type, status, taken }) => {
      const bytes = Buffer.from(body);
      await expectNoStall(name, async () => {
        const answer = await send('/api/v1/functions/default/sink/batches', bytes, { type });
        expect(answer.status, answer.text).toBe(status);
        if (taken !== undefined) expect(answer.text).toMatch(new RegExp(`"taken":${taken}\\b`));
      });
    },
  );

  test('G9 stalls: ten arrays at once stall no event loop', { timeout: 120_000 }, async () => {
    const body = Buffer.from(`[${upTo(MB, () => `${deep(1_000)},`)}1]`);
    await expectNoStall('ten arrays at once', async () => {
      const path = '/api/v1/functions/default/sink/batches';
      const answers = await Promise.all(Array.from({ length: 10 }, () => send(path, body)));
      for (const { status } of answers) expect(status).toBe(202);
    });
  });

  test.each(['deep', 'flat', 'objects'])(
    'G9 stalls: 15 MB of results of one group, %s, stall no event loop',
    { timeout: 120_000 },
    async (kind) => {
      await expectNoStall(`results, ${kind}`, async () => {
        const items = Buffer.from(`"${kind}"\n`.repeat(60));
        const made = await send('/api/v1/functions/default/answers/batches', items, { type: LINES });
        const { batch } = JSON.parse(made.text) as { batch: { id: string } };
        const { text } = await send(`/api/v1/batches/${batch.id}/results?wait=1`);
        expect(text.match(/^\{"index":\d+,"ok":true/gm)?.length).toBe(60);
        expect(text.length).toBeGreaterThan(14 * MB);
      });
    },
  );
});

describe('events, headers and archives', () => {
  const sizes = [128 * 1024, MB, BYTES];
  test.each(sizes)(
    'G9 stalls: an event of %i bytes, called and queued under a key, stalls no event loop',
    { timeout: 60_000 },
    async (bytes) => {
      const event = Buffer.from(objects(bytes - 64));
      await expectNoStall(`event of ${event.length} bytes`, async () => {
        const path = '/api/v1/functions/default/sink';
        expect((await send(`${path}/invoke`, event)).status).toBe(200);
        const headers = { 'idempotency-key': randomBytes(8).toString('hex') };
        expect((await send(`${path}/invocations`, event, { headers })).status).toBe(202);
        expect((await send(`${path}/invocations`, event, { headers })).status).toBe(202);
      });
    },
  );

  test('G9 stalls: as many headers, cookies and parameters as fit stall no event loop', async () => {
    const headers = {
      cookie: 'a=b; '.repeat(1_200),
      tracestate: 'a=b,'.repeat(1_000),
      traceparent: '0'.repeat(4_000),
      prefer: ', '.repeat(2_000),
      'x-forwarded-for': ' ,'.repeat(2_000),
    };
    await expectNoStall('headers', async () => {
      for (let call = 0; call < 50; call++) {
        expect((await send(`/fn/default/sink?${'a=%41&'.repeat(500)}`, undefined, { headers })).status).toBe(
          200,
        );
        expect(
          (await send(`/api/v1/invocations?${'a=%41&'.repeat(500)}`, undefined, { headers })).status,
        ).toBe(200);
      }
    });
  });

  test(
    'G9 stalls: archives of many files, and of large ones, stall no event loop',
    { timeout: 240_000 },
    async () => {
      const index: Entry = [{ name: 'index.mjs' }, SINK];
      const many = Array.from({ length: 5_000 }, (_, at): Entry => [
        { name: `d${at % 100}/${'f'.repeat(80)}${at}` },
        'x',
      ]);
      const archives = {
        many: [index, ...many],
        large: [
          index,
          [{ name: 'a' }, randomBytes(BYTES)],
          [{ name: 'b' }, Buffer.alloc(150 * MB)],
        ] as Entry[],
      };
      for (const [name, entries] of Object.entries(archives)) {
        const archive = await packed(entries);
        await expectNoStall(`archive, ${name}`, async () => {
          expect(await deployArchive(watched.platform, `files-${name}`, archive)).toBeUndefined();
        });
      }
    },
  );
});

describe('output of functions', () => {
  const trace = randomBytes(16).toString('hex');
  const headers = { traceparent: `00-${trace}-${'b'.repeat(16)}-01` };
  const call = (kind: string, times: number): Promise<unknown> =>
    Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let at = 0; at < times / 4; at++)
          await send(`/fn/default/talker?kind=${kind}`, undefined, { headers });
      }),
    );

  test.each(['lines', 'controls'])(
    'G9 stalls: 8 MB of a log, %s, stall no event loop',
    { timeout: 120_000 },
    async (kind) => {
      await expectNoStall(`log of ${kind} is printed`, () => call(kind, 40));
      await expectNoStall(`log of ${kind} is read`, async () => {
        const { status, text } = await send('/api/v1/functions/default/talker/logs');
        expect(status).toBe(200);
        expect(text.length).toBeGreaterThan(6 * MB);
        expect((JSON.parse(text) as { logs: unknown[] }).logs.length).toBeGreaterThan(500);
      });
    },
  );

  test.each(['json', 'error'])(
    'G9 stalls: 10 MB of answers, %s, stall no event loop',
    { timeout: 120_000 },
    async (kind) => {
      await expectNoStall(`answers, ${kind}`, () => call(kind, 40));
    },
  );

  test(
    'G9 stalls: records with the largest number of spans, listed and drawn, stall no event loop',
    { timeout: 240_000 },
    async () => {
      await expectNoStall('spans are told', () => call('spans', 600));
      const listed = {
        listed: '/api/v1/invocations?name=talker&limit=1000',
        filtered: '/api/v1/invocations?name=talker&outcome=ok&limit=1000',
      };
      for (const [name, path] of Object.entries(listed)) {
        await expectNoStall(`records are ${name}`, async () => {
          expect((await send(path)).text.length).toBeGreaterThan(5 * MB);
        });
      }
      await expectNoStall('the trace is drawn', async () => {
        const { spans } = JSON.parse((await send(`/api/v1/traces/${trace}`)).text) as { spans: unknown[] };
        // And the caller's.
        expect(spans).toHaveLength(2_001);
      });
    },
  );
});

/** The control: a parser that makes values of all of it in one go stands still for longer than is allowed. */
test('G9 stalls: control, JSON.parse() of 10 MB is seen as a stall', async () => {
  const text = objects(BYTES);
  expect((await stallOf(() => JSON.parse(text))).cpu).toBeGreaterThan(LONGEST_MS);
  expect((await stallOf(() => undefined)).cpu).toBeLessThan(LONGEST_MS);
});
