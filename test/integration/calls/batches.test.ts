import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DeadLetters } from '#contract/api/api.ts';
import type { Batch, ItemResult, ItemsTaken } from '#contract/invocations/batch.ts';
import { MAX_GROUP_RESULT_BYTES, WINDOW_GROUPS } from '#contract/functions/limits.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({
    OFFSHOOT_PREPARED: '1',
    // Memory that is enough for what each function holds, and less than a tenth of one group's results as values.
    NODE_OPTIONS: '--max-old-space-size=160',
  });
  await platform.deploy('orders');
  await platform.deploy('retries');
  await platform.deploy('lambda');
}, 60_000);
afterAll(() => platform.stop());

const lines = (items: readonly unknown[]): string =>
  items.map((item) => `${JSON.stringify(item)}\n`).join('');

async function send(
  path: string,
  body: NonNullable<RequestInit['body']>,
  type = 'application/x-ndjson',
  signal?: AbortSignal,
): Promise<Response> {
  return await fetch(`${platform.url}/api/v1${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${platform.key}`, 'content-type': type },
    body,
    ...(signal && { signal }),
    ...(body instanceof ReadableStream && { duplex: 'half' }),
  });
}

async function sent(name: string, items: readonly unknown[]): Promise<Batch> {
  const response = await send(`/functions/default/${name}/batches`, lines(items));
  expect(response.status).toBe(202);
  const { taken, batch } = (await response.json()) as ItemsTaken;
  expect(taken).toBe(items.length);
  return batch;
}

async function look(id: string): Promise<Batch> {
  const response = await platform.api(`/batches/${id}`);
  expect(response.status).toBe(200);
  return (await response.json()) as Batch;
}

async function resultsOf(id: string, query = ''): Promise<ItemResult[]> {
  const text = await (
    await platform.api(`/batches/${id}/results?${query.includes('wait') ? '' : 'wait=1'}${query}`)
  ).text();
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ItemResult);
}

describe('a batch', () => {
  it('queue() gets the items of a batch in groups, and each result is kept, in order [QU13]', async () => {
    const items = Array.from({ length: 230 }, (_, at) => ({ quantity: at }));
    const { id } = await sent('orders', items);
    const results = await resultsOf(id);
    expect(results.map(({ index }) => index)).toEqual(items.map((_, at) => at));
    expect(results[229]).toEqual({ index: 229, ok: true, outcome: 'ok', result: { total: 687 }, tries: 1 });
    const batch = await look(id);
    expect(batch).toMatchObject({ state: 'done', items: 230, succeeded: 230, failed: 0, groups: 5 });
    const completed = await resultsOf(id, '&order=completed');
    expect(completed.map(({ index }) => index).toSorted((a, b) => a - b)).toEqual(items.map((_, at) => at));
  });

  it('only failed items are tried again; those that fail for good are a dead letter that can be queued again [QU13]', async () => {
    const items = Array.from({ length: 60 }, (_, at) => ({
      quantity: at,
      ...(at === 7 && { fail: 'retry' }),
      ...(at === 55 && { fail: 'never' }),
    }));
    const { id } = await sent('orders', items);
    const results = await resultsOf(id);
    expect(results).toHaveLength(60);
    expect(results[6]?.tries).toBe(1);
    expect(results[7]).toMatchObject({ ok: true, tries: 3 });
    expect(results[55]).toMatchObject({ ok: false, outcome: 'error', error: { name: 'Retry' }, tries: 3 });
    expect(await look(id)).toMatchObject({ state: 'done', succeeded: 59, failed: 1 });

    const letters = (await (await platform.api('/dead-letters/default')).json()) as DeadLetters;
    const letter = letters.deadLetters.find((one) => one.batch?.id === id);
    expect(letter).toMatchObject({
      dead: 'attempts_used',
      message: '1 of 10 items has failed',
      batch: { group: 1 },
    });
    const redrive = { method: 'POST', body: JSON.stringify({ ids: [letter?.id] }) };
    expect((await platform.api('/dead-letters/default/redrive', redrive)).status).toBe(200);
    await expect.poll(async () => (await resultsOf(id))[55]?.tries, { timeout: 10_000 }).toBe(6);
    expect(await look(id)).toMatchObject({ state: 'done', succeeded: 59, failed: 1, groupsDone: 2 });
  });

  it('a group that throws fails all its items, except those that it had acknowledged', async () => {
    const { id } = await sent('orders', [{ quantity: 1 }, { quantity: 2, fail: 'throw' }, { quantity: 3 }]);
    const results = await resultsOf(id);
    expect(results.map(({ ok, tries }) => [ok, tries])).toEqual([
      [true, 1],
      [false, 3],
      [false, 3],
    ]);
    expect(results[2]?.error?.message).toBe('order 1 breaks everything');
  });

  it('a function without queue() is called for each item, and each has its own outcome', async () => {
    await platform.deploy('retries', { name: 'quick', retries: { attempts: 1, minDelay: 0, maxDelay: 0 } });
    const items = [{ answer: 'a' }, { fail: 'exit' }, { fail: 'busy' }, { answer: 'd' }];
    const { id } = await sent('quick', items);
    const results = await resultsOf(id);
    expect(results.map(({ ok, outcome, status }) => [ok, outcome, status])).toEqual([
      [true, 'ok', 200],
      [false, 'exited', undefined],
      [false, 'ok', 503],
      [true, 'ok', 200],
    ]);
    expect(results[3]?.result).toMatchObject({ answer: 'd' });
    const { id: other } = await sent('lambda', [{ n: 1 }, { n: 2 }]);
    expect((await resultsOf(other)).map(({ ok }) => ok)).toEqual([true, true]);
  });

  it('tries items again no sooner than their answer asks for by Retry-After [QU3]', async () => {
    await platform.deploy('retries', { name: 'patient', retries: { attempts: 2, minDelay: 0, maxDelay: 0 } });
    const begun = performance.now();
    const { id } = await sent('patient', [{ fail: 'busy' }, { answer: 'b' }]);
    const results = await resultsOf(id);
    expect(results.map(({ ok, tries }) => [ok, tries])).toEqual([
      [false, 2],
      [true, 1],
    ]);
    // The function asks for one second.
    expect(performance.now() - begun).toBeGreaterThanOrEqual(950);
  });

  it('results of a group are kept up to their limit, whatever their shape, and a larger one says so', async () => {
    const once = { attempts: 1, minDelay: 0, maxDelay: 0 };
    // Room for the garbage of that many objects, whenever the runtime collects it.
    await platform.deploy('retries', { name: 'wide', retries: once, timeout: 60, memory: 256 });
    const { id } = await sent(
      'wide',
      Array.from({ length: 100 }, () => ({ objects: 85_000 })),
    );
    const results = await resultsOf(id);
    const kept = results.filter(({ ok }) => ok);
    expect(Buffer.byteLength(lines(kept))).toBeLessThan(MAX_GROUP_RESULT_BYTES + 100 * 256);
    expect(Buffer.byteLength(lines(kept))).toBeGreaterThan(MAX_GROUP_RESULT_BYTES - 260_000);
    expect(kept.map(({ result }) => (result as { answer: unknown[] }).answer.length)).toEqual(
      kept.map(() => 85_000),
    );
    const others = results.filter(({ ok }) => !ok);
    expect(others).toEqual(
      others.map(({ index }) => ({ index, ok: false, outcome: 'response_too_large', tries: 1 })),
    );
    expect(results).toHaveLength(100);
    expect(platform.output).not.toContain('begun again');
  }, 60_000);

  it('a batch can be sent as a JSON array', async () => {
    const items = Array.from({ length: 120 }, (_, at) => ({ quantity: at, note: 'a, [b]\n"c"' }));
    const response = await send(
      '/functions/default/orders/batches',
      JSON.stringify(items),
      'application/json',
    );
    const { batch } = (await response.json()) as ItemsTaken;
    const results = await resultsOf(batch.id);
    expect(results.map(({ result }) => (result as { total: number }).total)).toEqual(
      items.map(({ quantity }) => quantity * 3),
    );
  });

  it('a line that is no JSON is named, with the items taken before it, and the upload can go on from there [QU12]', async () => {
    const bad = await send(
      '/functions/default/orders/batches',
      `{"quantity":1}\n{"quantity":2}\n{"quantity:\n{"quantity":4}\n`,
    );
    expect(bad.status).toBe(400);
    const { error } = (await bad.json()) as {
      error: { code: string; message: string; details: { taken: number; batch: string } };
    };
    expect(error).toMatchObject({
      code: 'bad_item',
      message: expect.stringContaining('line 3') as unknown,
      details: { taken: 2 },
    });
    const { batch: id } = error.details;
    expect((await look(id)).state).toBe('open');
    const more = await send(`/batches/${id}/items`, lines([{ quantity: 3 }, { quantity: 4 }]));
    expect(((await more.json()) as ItemsTaken).batch.items).toBe(4);
    expect((await platform.api(`/batches/${id}/seal`, { method: 'POST' })).status).toBe(200);
    expect((await resultsOf(id)).map(({ result }) => (result as { total: number }).total)).toEqual([
      3, 6, 9, 12,
    ]);
    const late = await send(`/batches/${id}/items`, lines([{ quantity: 5 }]));
    expect([late.status, ((await late.json()) as { error: { code: string } }).error.code]).toEqual([
      409,
      'conflict',
    ]);
  });

  it.each([
    ['text/plain', 'hello', 400],
    ['application/json', '{"quantity":1}', 400],
    ['application/json', '[{"quantity":1},', 400],
    ['application/x-ndjson', `"${'x'.repeat(300_000)}"\n`, 400],
  ])('a batch is refused that comes as %s: %.20s', async (type, body, status) => {
    expect((await send('/functions/default/orders/batches', body, type)).status).toBe(status);
  });

  it('items run while more are being sent, and they are read no faster than they run [QU12, QU14]', async () => {
    await platform.deploy('orders', { name: 'slow', batch: { size: 1 }, timeout: 60 });
    const { batch } = (await (await send('/functions/default/slow/batches?open=1', '')).json()) as ItemsTaken;
    let pulled = 0;
    const total = WINDOW_GROUPS + 4_000;
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(Buffer.from(lines([{ quantity: pulled, pad: 'x'.repeat(4_000), sleepMs: 50 }])));
        if (++pulled === total) controller.close();
      },
    });
    const stop = new AbortController();
    const sending = send(`/batches/${batch.id}/items`, stream, 'application/x-ndjson', stop.signal).catch(
      () => undefined,
    );
    await expect.poll(async () => (await look(batch.id)).succeeded, { timeout: 10_000 }).toBeGreaterThan(50);
    const { groups, groupsDone } = await look(batch.id);
    expect(groups - groupsDone).toBeLessThanOrEqual(WINDOW_GROUPS + 1);
    expect(pulled).toBeLessThan(total);
    const cancelled = await platform.api(`/batches/${batch.id}/cancel`, { method: 'POST' });
    expect(cancelled.status).toBe(202);
    await expect.poll(async () => (await look(batch.id)).endedAt, { timeout: 10_000 }).toBeGreaterThan(0);
    const end = await look(batch.id);
    expect(end).toMatchObject({ state: 'cancelled', cancelledBy: { by: 'key' } });
    expect(end.succeeded + end.failed).toBe(end.items);
    stop.abort();
    await sending;
    await sleep(200);
    expect((await look(batch.id)).items).toBe(end.items);
  }, 60_000);

  it('a batch is seen only by holders of keys of its namespace', async () => {
    const { id } = await sent('orders', [{ quantity: 1 }]);
    const key = (await (
      await platform.api('/keys', {
        method: 'POST',
        body: JSON.stringify({ namespace: 'other', scopes: ['read', 'invoke'] }),
      })
    ).json()) as { key: string };
    for (const [path, method] of [
      ['', 'GET'],
      ['/results', 'GET'],
      ['/cancel', 'POST'],
      ['/items', 'POST'],
    ] as const) {
      const answer = await fetch(`${platform.url}/api/v1/batches/${id}${path}`, {
        method,
        headers: { authorization: `Bearer ${key.key}`, 'content-type': 'application/x-ndjson' },
      });
      expect([path, answer.status]).toEqual([path, 404]);
    }
  });
});

describe('offshoot batch', () => {
  it('offshoot batch run sends a file, waits, and writes the results', async () => {
    const file = `${platform.state}/orders.ndjson`;
    const out = `${platform.state}/results.ndjson`;
    await writeFile(file, lines(Array.from({ length: 130 }, (_, at) => ({ quantity: at }))));
    const run = await platform.cli('batch', 'run', file, '--function', 'orders', '--output', out, '--json');
    expect([run.code, run.stderr]).toEqual([0, '']);
    const batch = JSON.parse(run.stdout) as Batch;
    expect(batch).toMatchObject({ state: 'done', items: 130, succeeded: 130 });
    const results = (await readFile(out, 'utf8')).trim().split('\n');
    expect(results.map((line) => (JSON.parse(line) as ItemResult).index)).toEqual(results.map((_, at) => at));
    const shown = await platform.cli('batch', 'results', batch.id);
    expect(shown.stdout.trim().split('\n')).toHaveLength(130);
    const listed = await platform.cli('batch', 'list');
    expect(listed.stdout).toMatch(new RegExp(`${batch.id} +default/orders +done +130 of 130`));
  });

  it('offshoot batch run exits with 1 where items failed, and says what to do with a bad line', async () => {
    const file = `${platform.state}/bad.json`;
    await writeFile(file, JSON.stringify([{ quantity: 1 }, { quantity: 2, fail: 'never' }]));
    const failing = await platform.cli('batch', 'run', file, '-f', 'orders');
    expect([failing.code, failing.stdout]).toEqual([1, expect.stringContaining('1 of 2 items done')]);
    await writeFile(file, '{"quantity":1}\nnonsense\n');
    const bad = await platform.cli('batch', 'run', file, '-f', 'orders');
    expect(bad.code).toBe(1);
    expect(bad.stderr).toMatch(/line 2 is not JSON[^]*still open\nnext: offshoot batch show [0-9a-f]{32}\n$/);
    const none = await platform.cli('batch', 'run', file);
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining('--function NAME')]);
  });
});
