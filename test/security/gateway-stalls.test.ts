/** Bytes that a tenant sends as he likes, 10 MB or as many as are taken, never hold up the loop in which all tenants are served. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packed, type Entry } from './abuse/archives.ts';
import { deployArchive } from './abuse/platform.ts';
import { WatchedPlatform, type Watched } from './gateway/stalls.ts';

const MB = 1024 * 1024;

let watched: WatchedPlatform;
beforeAll(async () => {
  watched = await WatchedPlatform.start();
  const { platform } = watched;
  const deploy = async (name: string, code: string, manifest: object = {}): Promise<void> => {
    const entries: Entry[] = [[{ name: 'index.mjs' }, code]];
    expect(await deployArchive(platform, name, await packed(entries), { ...manifest })).toBeUndefined();
  };
  await deploy('sink', `export default { fetch: () => new Response('ok'), queue: () => undefined };`, {
    batch: { size: 1000 },
  });
  await deploy('one', `export default { handler: async (e) => e }; export const handler = async (e) => e;`);
  await deploy(
    'many',
    `let text; const made = (kind) => {
      const n = 250 * 1024;
      if (kind === 'deep') return '['.repeat(n / 2) + ']'.repeat(n / 2);
      if (kind === 'objects') { let s = '['; for (let i = 0; s.length < n; i++) s += '{"q' + i + '":1},'; return s + '1]'; }
      return '[' + '1,'.repeat(n / 2) + '1]';
    };
    export default { queue: (batch) => { for (const m of batch.messages) m.ack(JSON.parse(made(m.body))); } };`,
    { batch: { size: 64 } },
  );
  await deploy(
    'talker',
    `export default { async fetch(request) {
      const kind = new URL(request.url).searchParams.get('kind');
      const size = 256 * 1024;
      if (kind === 'lines') for (let at = 0; at < size; at += 64) console.log('x'.repeat(40));
      if (kind === 'controls') for (let at = 0; at < size; at += 8192) console.log('\\u0080'.repeat(4000));
      if (kind === 'bells') for (let at = 0; at < size; at += 8192) console.log('\\u0007'.repeat(8000));
      if (kind === 'headers') { const h = new Headers(); for (let i = 0; i < 250; i++) h.append('x' + i, 'y'.repeat(240)); return new Response('', { headers: h }); }
      if (kind === 'spans') {
        const tracer = globalThis[Symbol.for('opentelemetry.js.api.1')].trace.getTracer('x');
        for (let i = 0; i < 120; i++) { const sp = tracer.startSpan('s' + i); for (let j = 0; j < 9; j++) sp.setAttribute('q' + i + '_' + j, j); sp.end(); }
      }
      if (kind === 'json') return new Response('['.repeat(125000) + ']'.repeat(125000), { headers: { 'content-type': 'application/json' } });
      if (kind === 'error') { const e = new Error('x'.repeat(400000)); throw e; }
      return new Response('ok');
    } };`,
    { logSize: 1024 },
  );
}, 120_000);
afterAll(() => watched.stop(), 60_000);

const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
function upTo(bytes: number, piece: (at: number) => string): string {
  const pieces: string[] = [];
  let size = 0;
  for (let at = 0; size < bytes; at++) {
    const next = piece(at);
    pieces.push(next);
    size += next.length;
  }
  return pieces.join('');
}
const array = (items: string): string => `[${items}1]`;

async function send(
  path: string,
  type: string,
  body: string | Buffer,
  headers: Record<string, string> = {},
  method = 'POST',
): Promise<string> {
  const response = await fetch(`${watched.platform.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${watched.platform.key}`, 'content-type': type, ...headers },
    ...(method === 'GET' ? {} : { body: typeof body === 'string' ? body : new Uint8Array(body) }),
  });
  const text = await response.text();
  return `${response.status} ${text.length > 300 ? `${text.slice(0, 120)}…(${text.length})` : text}`;
}

const ARRAY = 'application/json';
const LINES = 'application/x-ndjson';
const BATCHES = '/api/v1/functions/default/sink/batches';

function show(name: string, { gateway, worker, p99, calls }: Watched, said: string): void {
  const ms = (n: number): string => n.toFixed(0).padStart(5);
  console.log(
    `${name.padEnd(42)} gateway cpu ${ms(gateway.cpu)} wall ${ms(gateway.wall)} | worker cpu ${ms(worker.cpu)} wall ${ms(worker.wall)} | p99 ${ms(p99)} of ${calls} | ${said.slice(0, 160)}`,
  );
}

async function measure(name: string, act: () => Promise<string>): Promise<Watched> {
  let said = '';
  const seen = await watched.during(async () => {
    said = await act();
  });
  show(name, seen, said);
  return seen;
}

describe('explore', () => {
  test('all', { timeout: 600_000 }, async () => {
    await measure('quiet', async () => {
      await new Promise((r) => setTimeout(r, 1000));
      return '';
    });
    const batch = (name: string, type: string, body: string) =>
      measure(`batch ${name}`, () => send(BATCHES, type, Buffer.from(body)));
    await batch('array: deep 20000', ARRAY, array(upTo(10 * MB, () => `${deep(20_000)},`)));
    await batch('array: deep 500', ARRAY, array(upTo(10 * MB, () => `${deep(400)},`)));
    await batch('array: numbers', ARRAY, array('1,'.repeat(5 * MB)));
    await batch(
      'array: objects 200k',
      ARRAY,
      array(upTo(10 * MB, (n) => `[${upTo(200_000, (m) => `{"q${n}_${m}":1},`)}1],`)),
    );
    await batch('array: spaces', ARRAY, array(`1,${' '.repeat(10 * MB)}`));
    await batch(
      'lines: deep 100000',
      LINES,
      upTo(10 * MB, () => `${deep(100_000)}\n`),
    );
    await batch(
      'lines: deep 400',
      LINES,
      upTo(10 * MB, () => `${deep(400)}\n`),
    );
    await batch('lines: numbers', LINES, '1\n'.repeat(5 * MB));
    await batch('lines: blank', LINES, '\n'.repeat(10 * MB));
    await batch(
      'lines: objects',
      LINES,
      upTo(10 * MB, (n) => `[${upTo(200_000, (m) => `{"q${n}_${m}":1},`)}1]\n`),
    );
    const event = (name: string, path: string, body: string, headers = {}) =>
      measure(`event ${name}`, () =>
        send(`/api/v1/functions/default/sink/${path}`, ARRAY, Buffer.from(body), headers),
      );
    for (const [size, n] of [
      ['128K', 128 * 1024],
      ['1M', MB],
      ['10M', 10 * MB],
    ] as const) {
      await event(`invoke objects ${size}`, 'invoke', array(upTo(n - 20, (m) => `{"q${m}":1},`)));
      await event(`queued key ${size}`, 'invocations', deep(n / 2), {
        'idempotency-key': randomBytes(8).toString('hex'),
      });
    }
    for (const kind of ['lines', 'controls', 'bells', 'json', 'error']) {
      await measure(`talker ${kind}`, async () => {
        let said = '';
        for (let i = 0; i < 40; i++)
          said = await send(`/fn/default/talker?kind=${kind}`, ARRAY, '', {}, 'GET');
        return said;
      });
      await measure(`logs ${kind}`, () =>
        send('/api/v1/functions/default/talker/logs', ARRAY, '', {}, 'GET'),
      );
    }
    await measure('talker spans', async () => {
        const one = async (): Promise<void> => { for (let i = 0; i < 125; i++) await send('/fn/default/talker?kind=spans', ARRAY, '', { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` }, 'GET'); };
        await Promise.all(Array.from({ length: 8 }, one));
        return '';
    });
    await measure('trace', () => send(`/api/v1/traces/${'a'.repeat(32)}`, ARRAY, '', {}, 'GET'));
    await measure('list filtered', () => send('/api/v1/invocations?outcome=ok&limit=1000', ARRAY, '', {}, 'GET'));
    await measure('list 1000', () => send('/api/v1/invocations?limit=1000', ARRAY, '', {}, 'GET'));
    await measure('headers 31K', () =>
      send(
        `/fn/default/sink?${'a=%41&'.repeat(1500)}`,
        ARRAY,
        '',
        { cookie: 'a=b; '.repeat(1500), traceparent: 'x'.repeat(200), tracestate: 'a=b,'.repeat(1000) },
        'GET',
      ),
    );
    for (const kind of ['deep', 'objects', 'flat']) {
      await measure(`group answers ${kind}`, async () => {
        const said = await send(
          '/api/v1/functions/default/many/batches',
          LINES,
          `${JSON.stringify(kind)}\n`.repeat(64),
        );
        const id = /"id":"([^"]+)"/.exec(said)?.[1] ?? '';
        const results = await send(`/api/v1/batches/${id}/results?wait=1`, ARRAY, '', {}, 'GET');
        return `${said.slice(0, 40)} ${results}`;
      });
    }
    const small: Entry[] = Array.from({ length: 19_990 }, (_, i) => [
      { name: `d${i % 100}/${'f'.repeat(80)}${i}` },
      'x',
    ]);
    const files = await packed([
      [{ name: 'index.mjs' }, `export default { fetch: () => new Response('ok') };`],
      ...small,
    ]);
    await measure(
      `archive of 20000 files (${files.length})`,
      async () => JSON.stringify(await deployArchive(watched.platform, 'files', files)) ?? 'deployed',
    );
    const big = await packed([
      [{ name: 'index.mjs' }, `export default { fetch: () => new Response('ok') };`],
      [{ name: 'big' }, randomBytes(50 * MB)],
      [{ name: 'zero' }, Buffer.alloc(150 * MB)],
    ]);
    await measure(
      `archive of 200 MB (${big.length})`,
      async () => JSON.stringify(await deployArchive(watched.platform, 'big', big)) ?? 'deployed',
    );
  });
});
