/** The main job end to end: functions deployed by the CLI, called over HTTP, run in sandboxes, seen in records. */
import { readdirSync, readFileSync } from 'node:fs';
import { deflateSync, crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NODE_RUNTIMES } from '../../support/runtime/node-runtimes.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_MAX_BODY_BYTES: String(1024 * 1024) });
}, 60_000);
afterAll(() => platform.stop());

describe('the example functions', () => {
  test('hello-fetch answers a fetch request', async () => {
    await platform.deploy('hello-fetch');
    const response = await platform.call('hello-fetch?name=Ada');
    expect(response.status).toBe(200);
    expect(await response.text()).toContain('Ada');
  });

  test('hono-zod routes requests and validates their input', async () => {
    await platform.deploy('hono-zod');
    const order = (body: object) =>
      platform.call('hono-zod/orders', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    const good = await order({ item: 'lamp', quantity: 2 });
    expect(good.status).toBe(201);
    expect(await good.json()).toMatchObject({ item: 'lamp', total: 500 });
    expect((await order({ item: '', quantity: 0 })).status).toBe(400);
    expect((await platform.call('hono-zod/nowhere')).status).toBe(404);
  });

  test('markdown uses an npm package and returns sanitised HTML', async () => {
    await platform.deploy('markdown');
    const response = await platform.call('markdown', {
      method: 'POST',
      body: '# Title\n\n*soft*\n\n<script>x</script>',
    });
    const html = await response.text();
    expect(html).toMatch(/<h1[^>]*>Title<\/h1>/);
    expect(html).toContain('<em>soft</em>');
    expect(html).not.toContain('<script>x');
  });

  test('thumbnail runs WebAssembly codecs', async () => {
    await platform.deploy('thumbnail');
    const response = await platform.call('thumbnail?size=16', { method: 'POST', body: png(64, 32) });
    expect(response.status).toBe(200);
    expect(response.headers.get('x-image-size')).toBe('16x8');
    const image = Buffer.from(await response.arrayBuffer());
    expect(image.subarray(0, 2).toString('hex')).toBe('ffd8');
  });

  test('stream sends its pieces as they are produced [CA2]', async () => {
    await platform.deploy('stream');
    const response = await platform.call('stream/events?count=4&pause=80');
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    // The headers leave before the end is known; they hold the times known by then.
    expect(response.headers.get('server-timing')).toMatch(
      /queue;dur=.*acquire;dur=.*desc="(?:idle|prepared|cold)/,
    );
    const arrivals: number[] = [];
    let text = '';
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      arrivals.push(performance.now());
      text += Buffer.from(chunk).toString();
    }
    expect(text.match(/^data: /gm)).toHaveLength(4);
    expect((arrivals.at(-1) ?? 0) - (arrivals[0] ?? 0)).toBeGreaterThan(150);
  });

  test('lambda takes HTTP events and plain ones', async () => {
    await platform.deploy('lambda');
    const response = await platform.call('lambda/add?numbers=1,2,3');
    expect(await response.json()).toMatchObject({ sum: 6, path: '/add' });
    expect(response.headers.getSetCookie()).toEqual(['seen=yes; Path=/', 'count=3']);
    const { stdout } = await platform.cli('invoke', 'lambda', '--data', '{"numbers":[4,5]}');
    expect(JSON.parse(stdout)).toMatchObject({ sum: 9 });
  });

  test('native-addon loads a .node file beside the bundle, on both images', async () => {
    for (const runtime of NODE_RUNTIMES) {
      await platform.deploy('native-addon', { runtime, name: `native-${runtime}` });
      const post = async (body: object) =>
        (
          await platform.call(`native-${runtime}`, { method: 'POST', body: JSON.stringify(body) })
        ).json() as Promise<Record<string, unknown>>;
      const { hash } = await post({ password: 'secret' });
      expect(await post({ password: 'secret', hash })).toEqual({ matches: true });
      expect(await post({ password: 'other', hash })).toEqual({ matches: false });
    }
  });
});

describe('a call', () => {
  beforeAll(() => platform.deploy('faulty'));

  test('method, path, query, repeated headers and binary bodies pass both ways [CA1]', async () => {
    const sent = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    const response = await platform.call('faulty/request?a=1&a=2', {
      method: 'PUT',
      body: sent,
      headers: { 'x-one': 'two' },
    });
    const seen = (await response.json()) as {
      method: string;
      url: string;
      headers: [string, string][];
      body: string;
    };
    expect(seen.method).toBe('PUT');
    expect(new URL(seen.url).pathname + new URL(seen.url).search).toBe('/request?a=1&a=2');
    expect(Buffer.from(seen.body, 'base64').equals(sent)).toBe(true);
    expect(seen.headers).toContainEqual(['x-one', 'two']);
    expect(seen.headers).toContainEqual(['x-forwarded-prefix', '/fn/default/faulty']);
    const binary = Buffer.from(await (await platform.call('faulty/binary')).arrayBuffer());
    expect(binary.equals(sent)).toBe(true);
    const cookies = await platform.call('faulty/cookies');
    expect(cookies.status).toBe(204);
    expect(cookies.headers.getSetCookie()).toEqual(['a=1', 'b=2; Path=/']);
  });

  test('a function sees no key of the platform, but its own authorization header [CA8]', async () => {
    const seen = async (headers: Record<string, string>): Promise<string> =>
      await (await platform.call('faulty/request', { headers })).text();
    expect(await seen({ authorization: `Bearer ${platform.key}` })).not.toContain('osk_');
    expect(await seen({ 'x-api-key': platform.key })).not.toContain('osk_');
    expect(await seen({ authorization: 'Bearer own-token' })).toContain('own-token');
  });

  test('a large response arrives whole', async () => {
    const response = await platform.call('faulty/large-response?bytes=3000000');
    expect((await response.arrayBuffer()).byteLength).toBe(3_000_000);
  });

  test('a function continues its caller’s trace and passes it on', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const response = await platform.call('faulty/context', {
      headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
    });
    const told = (await response.json()) as { id: string; traceparent: string; remainingMs: number };
    expect(told.traceparent.split('-')[1]).toBe(traceId);
    expect(told.remainingMs).toBeGreaterThan(1_500);
    const record = await platform.record(response);
    expect(record.id).toBe(told.id);
    expect(record.traceId).toBe(traceId);
    expect(record.parentSpanId).toBe('00f067aa0ba902b7');
    const run = record.spans.find(({ name }) => name === 'run');
    expect(told.traceparent.split('-')[2]).toBe(run?.spanId);
    expect(record.report?.usage?.cpu).toBeGreaterThan(0);
    expect(record.report?.usage?.memoryPeak).toBeGreaterThan(100_000);
    expect(response.headers.get('server-timing')).toMatch(/gateway;dur=.*queue;dur=.*acquire;dur=.*run;dur=/);
  });

  test('log lines of a call are in its record, in order and with their levels', async () => {
    const record = await platform.record(await platform.call('faulty/print-some?lines=2'));
    expect(record.logs.map(({ level, text }) => [level, text])).toEqual([
      ['log', 'line 0'],
      ['log', 'line 1'],
      ['error', 'to the error level'],
      ['stdout', 'written to stdout'],
    ]);
    const { stdout } = await platform.cli('trace', record.id);
    expect(stdout).toContain('line 1');
    expect(stdout).toMatch(/run +\d/);
  });

  test('a function may go on working after its response', async () => {
    const response = await platform.call('faulty/wait-until?ms=150');
    expect(await response.json()).toEqual({ accepted: true });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect((await platform.record(response)).logs.map(({ text }) => text)).toContain(
      'done after the response',
    );
  });

  test('a body over the limit is refused with the limit and the size [CA7]', async () => {
    const response = await platform.call('faulty/request', {
      method: 'POST',
      body: Buffer.alloc(1024 * 1024 + 1),
    });
    expect(response.status).toBe(413);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe('body_too_large');
    expect(error.message).toMatch(/1048576|1 MB|1\.0 MB/);
    expect(error.message).toMatch(/1048577/);
  });

  test('a call to an unknown function names the most similar function', async () => {
    const response = await platform.call('fualty');
    expect(response.status).toBe(404);
    expect(await response.text()).toContain('faulty');
    const elsewhere = await fetch(`${platform.url}/fn/defualt/faulty`);
    expect(elsewhere.status).toBe(404);
    expect(await elsewhere.text()).toContain('default');
  });

  test('a call to a private function needs a key of scope invoke', async () => {
    await platform.deploy('hello-fetch', { name: 'private', access: 'key' });
    expect((await platform.call('private')).status).toBe(401);
    const withKey = (key: string) =>
      platform.call('private', { headers: { authorization: `Bearer ${key}` } });
    expect((await withKey('osk_wrong')).status).toBe(401);
    expect((await withKey(platform.key)).status).toBe(200);
    const made = await platform.api('/keys', {
      method: 'POST',
      body: JSON.stringify({ namespace: 'default', scopes: ['read'] }),
    });
    const { key } = (await made.json()) as { key: string };
    expect((await withKey(key)).status).toBe(403);
  });
});

describe('a deploy', () => {
  test('a deploy that fails to load shows the error at its TypeScript line, and the old version goes on [DE2]', async () => {
    await platform.deploy('hello-fetch', { name: 'broken-load' });
    await expect(platform.deploy('broken-load')).rejects.toThrow(/src\/[\w-]+\.ts/);
    expect((await platform.call('broken-load')).status).toBe(200);
  });

  test('a deploy that does not bundle shows file and line', async () => {
    await expect(platform.deploy('broken-syntax')).rejects.toThrow(/index\.ts:\d+/);
  });

  test.each([
    [{ memory: 1 }, /memory/],
    [{ nmae: 'x' }, /name/],
    [{ name: 'Bad Name' }, /name/],
  ])('a deploy with a manifest of %o says which field is wrong', async (manifest, reason) => {
    await expect(platform.deploy('hello-fetch', manifest)).rejects.toThrow(reason);
  });
});

test('no process of the platform runs as root [IS8]', () => {
  for (const name of ['worker', 'gateway'] as const) {
    for (const pid of [platform.pid(name), ...childrenOf(platform.pid(name))]) {
      const [real, effective] =
        /^Uid:\t(\d+)\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.slice(1) ?? [];
      expect(real, `pid ${pid}`).not.toBe('0');
      expect(effective, `pid ${pid}`).not.toBe('0');
    }
  }
  expect(childrenOf(platform.pid('worker')).length).toBeGreaterThan(0);
});

test('every outcome tells a user what to do next', () => {
  for (const [name, { meaning, next }] of Object.entries(OUTCOMES)) {
    expect(meaning, name).not.toBe('');
    if (name !== 'ok') expect(next, name).not.toBe('');
  }
});

function childrenOf(ancestor: number): number[] {
  const direct = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/status`, 'utf8').includes(`\nPPid:\t${ancestor}\n`);
      } catch {
        return false;
      }
    });
  return direct.flatMap((pid) => [pid, ...childrenOf(pid)]);
}

/** A grey PNG, written by hand: https://www.w3.org/TR/png-3/ */
function png(width: number, height: number): Buffer<ArrayBuffer> {
  const chunk = (type: string, data: Buffer): Buffer => {
    const typed = Buffer.concat([Buffer.from(type), data]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    const check = Buffer.alloc(4);
    check.writeUInt32BE(crc32(typed));
    return Buffer.concat([length, typed, check]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 0, 0, 0, 0], 8);
  const rows = Buffer.alloc((width + 1) * height, 128);
  for (let row = 0; row < height; row++) rows[row * (width + 1)] = 0;
  const signature = Buffer.from('89504e470d0a1a0a', 'hex');
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
