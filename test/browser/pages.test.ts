/** Each page of the dashboard, filled with data: accessible in light and dark, with a screenshot of each. */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { openBrowser, Visitor, type Scheme } from '../support/servers/browser.ts';
import { Platform } from '../support/platform/platform.ts';

let platform: Platform;
let browser: Browser;
/** Pages of an invocation that went through retries and of a synchronous call. */
const paths: Record<string, string> = {};

beforeAll(async () => {
  [platform, browser] = await Promise.all([Platform.start(), openBrowser()]);
  for (const one of ['hello-fetch', 'retries', 'orders', 'nightly', 'faulty']) await platform.deploy(one);
  await platform.deploy('hello-fetch', { env: { GREETING: 'Good day' } });
  await platform.deploy('hello-fetch', { name: 'greetings' }, 'shop');
  await work();
  await ageRecords();
}, 180_000);
afterAll(async () => {
  await browser.close();
  await platform.stop();
});

/** Enough of everything that no page is empty. */
async function work(): Promise<void> {
  for (let round = 0; round < 12; round++) {
    await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        await platform.call(`hello-fetch?name=${index}`);
        await fetch(`${platform.url}/fn/shop/greetings?name=${index}`);
        if (index % 4 === 0)
          await platform.call(index % 8 === 0 && round % 3 === 0 ? 'faulty/throw' : 'faulty/ok');
      }),
    );
  }
  await platform.call('faulty/never');
  // Deployed alone, because its failures are counted within one sandbox.
  const retried = await platform.queue('retries', {
    fail: 'throw',
    times: 2,
    answer: { total: 42, currency: 'EUR' },
  });
  await platform.ended(retried);
  const dead = await Promise.all([
    platform.queue('retries', { fail: 'throw' }),
    platform.queue('retries', { fail: 'exit' }),
  ]);
  await Promise.all(dead.map((id) => platform.ended(id)));
  const file = join(platform.state, 'orders.ndjson');
  const items = Array.from({ length: 400 }, (_, index) =>
    JSON.stringify({ quantity: index, ...(index % 50 === 7 && { fail: 'never' }) }),
  );
  await writeFile(file, items.join('\n'));
  await platform.cli('batch', 'run', file, '--function', 'orders');
  const waited = await platform.call('hello-fetch?name=everybody');
  paths['invocation-waited'] = `/invocations/${waited.headers.get('x-offshoot-invocation')}`;
  paths['invocation'] = `/invocations/${retried}`;
  paths['invocation-failed'] = `/invocations/${dead[0]}`;
}

/** Moves recent records into the past, so that the charts of the last minutes have more than one bar. */
async function ageRecords(): Promise<void> {
  const redis = connectRedis(platform.redis.url, 'commands', pino({ level: 'silent' }));
  await once(redis, 'ready');
  const functions = [
    ['default', 'hello-fetch'],
    ['default', 'faulty'],
    ['shop', 'greetings'],
  ] as const;
  for (const [namespace, name] of functions) {
    const ids = await redis.zrange(keys.recent(namespace, name), 0, '-1');
    const pipeline = redis.pipeline();
    for (const [at, id] of ids.entries()) {
      const record = JSON.parse((await redis.get(keys.invocation(id))) ?? '{}') as InvocationRecord;
      // Busy minutes and quiet ones, in waves.
      for (let copy = 0; copy < 16; copy++) {
        const back = ((at * 16 + copy) / (ids.length * 16)) ** 1.2 * 840_000;
        if (Math.sin(back / 70_000) < -0.55) continue;
        const past = {
          ...record,
          id: `${id.slice(2)}${copy}x`,
          startedAt: Math.round(record.startedAt - back),
        };
        pipeline.set(keys.invocation(past.id), JSON.stringify(past), 'EX', 3_600);
        pipeline.zadd(keys.recent(namespace, name), past.startedAt, past.id);
      }
    }
    await pipeline.exec();
  }
  redis.disconnect();
}

const PAGES: readonly (readonly [name: string, path: string, ready: string])[] = [
  ['functions', '', 'table'],
  ['function', '/functions/default/hello-fetch', '.charts'],
  ['invocations', '/invocations', 'table'],
  ['invocation', '', '.waterfall'],
  ['invocation-waited', '', '.waterfall'],
  ['invocation-failed', '', '.failure'],
  ['queues', '/queues', 'table'],
  ['batches', '/batches', 'table'],
  ['schedules', '/schedules', 'table'],
  ['workers', '/workers', '.pools .cell.busy'],
  ['namespaces', '/namespaces', 'table'],
];

describe.each<Scheme>(['light', 'dark'])('in %s', (scheme) => {
  let visitor: Visitor;
  let batch: string;
  beforeAll(async () => {
    visitor = await Visitor.open(browser, platform, scheme);
    await visitor.visit('');
    // Still running while the pages are opened.
    const file = join(platform.state, `slow-${scheme}.ndjson`);
    const item = JSON.stringify({ quantity: 1, sleepMs: 60 });
    await writeFile(file, Array.from({ length: 20_000 }, () => item).join('\n'));
    const { stdout } = await platform.cli('batch', 'run', file, '--function', 'orders', '--detach', '--json');
    batch = /"id": *"([^"]+)"/.exec(stdout)?.[1] ?? '';
    expect(batch, stdout).not.toBe('');
  });
  afterAll(async () => {
    await platform.api(`/batches/${batch}/cancel`, { method: 'POST' });
    await visitor.context.close();
  });

  test('the sign-in page has no serious finding of axe', async () => {
    await visitor.page.getByLabel('API key').waitFor();
    expect(await visitor.findings()).toEqual([]);
    await visitor.shoot(`sign-in-${scheme}`);
    await visitor.signIn(platform.key);
    await visitor.page.locator('table').first().waitFor();
  });

  test.each(PAGES)('%s has no serious finding of axe [DA8]', async (name, path, ready) => {
    const { page } = visitor;
    await visitor.visit(paths[name] ?? path);
    await page.locator('.link-mark.live').waitFor();
    await page.locator(ready).first().waitFor();
    expect(await visitor.findings()).toEqual([]);
    await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
    await visitor.shoot(`${name}-${scheme}`);
  });

  test('the browser reported no error, no dialog, no policy violation and no request to another origin', () => {
    expect(visitor.complaints).toEqual([]);
  });

  test('control: axe finds text of low contrast', async () => {
    await visitor.page.evaluate(() => {
      const faint = document.createElement('p');
      faint.textContent = 'grey on grey';
      faint.style.color = '#888';
      faint.style.background = '#999';
      document.querySelector('main')?.append(faint);
    });
    expect(await visitor.findings()).toEqual([expect.stringContaining('color-contrast')]);
  });
});

test('all files of the dashboard together are below 200 KB, and an unchanged file is not sent again [DA9]', async () => {
  const sizes = await Promise.all(
    ['', '/assets/main.js', '/assets/main.css', '/assets/icon.svg'].map(async (path) => {
      const response = await fetch(`${platform.url}/dashboard${path}`);
      return { path, bytes: (await response.arrayBuffer()).byteLength, etag: response.headers.get('etag') };
    }),
  );
  const total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
  expect(total).toBeGreaterThan(10_000);
  expect(total).toBeLessThan(200_000);
  const script = sizes[1];
  const again = await fetch(`${platform.url}/dashboard/assets/main.js`, {
    headers: { 'if-none-match': script?.etag ?? '' },
  });
  expect(again.status).toBe(304);
});

test('a hidden page closes its event stream, and opens a new one when it is shown [DA6]', async () => {
  const visitor = await Visitor.open(browser, platform);
  await visitor.signIn(platform.key);
  await visitor.page.locator('table').first().waitFor();
  const requests: string[] = [];
  visitor.page.on('requestfailed', (request) => requests.push(new URL(request.url()).pathname));
  await visitor.page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await expect.poll(() => requests).toEqual(['/dashboard/live/functions']);
  const begun = visitor.page.waitForRequest((request) => request.url().includes('/dashboard/live/functions'));
  await visitor.page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: false, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await begun;
  await visitor.context.close();
});
