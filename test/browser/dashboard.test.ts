/** The dashboard in a real browser, against a running platform with real functions. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser, Visitor } from '../support/servers/browser.ts';
import { Platform } from '../support/platform/platform.ts';

const SEEN_MS = 20_000;

let platform: Platform;
let browser: Browser;
let visitor: Visitor;

beforeAll(async () => {
  [platform, browser] = await Promise.all([Platform.start(), openBrowser()]);
  visitor = await Visitor.open(browser, platform);
}, 120_000);
afterAll(async () => {
  await browser.close();
  await platform.stop();
});

describe('signing in', () => {
  test('signing in with an unknown key is refused, and nothing is shown', async () => {
    await visitor.signIn('osk_not-a-key');
    await visitor.page.getByRole('alert').getByText('not known').waitFor();
    expect(await visitor.context.cookies()).toEqual([]);
    expect(await visitor.page.getByRole('navigation').count()).toBe(0);
  });

  test('signing in with a known key sets a session cookie that scripts cannot read', async () => {
    await visitor.signIn(platform.key);
    await visitor.page.getByRole('heading', { name: 'Functions' }).waitFor();
    const [cookie, ...others] = await visitor.context.cookies(`${platform.url}/dashboard`);
    expect(others).toEqual([]);
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict', path: '/dashboard' });
    expect(cookie?.value).toHaveLength(43);
  });
});

describe('a function', () => {
  test('a function appears on the open page once it is deployed [DA6]', async () => {
    const { page } = visitor;
    await page.getByText('No function is deployed yet').waitFor();
    await platform.deploy('retries');
    await page.getByRole('link', { name: 'default/retries' }).waitFor({ timeout: SEEN_MS });
  });

  test('a function is invoked from its page, and the answer links to its waterfall [DA7]', async () => {
    const { page } = visitor;
    await page.getByRole('link', { name: 'default/retries' }).click();
    await page.getByLabel('Event, as JSON').fill('{"answer": 42}');
    await page.getByRole('button', { name: 'Invoke' }).click();
    await page.getByText('It answered 200').waitFor();
    expect(await page.getByLabel('Answer').textContent()).toContain('"answer": 42');
    await page.getByRole('link', { name: /…/ }).first().click();
    await page.getByRole('heading', { name: 'Invocation' }).waitFor();
    const waterfall = page.locator('.waterfall');
    await waterfall.waitFor();
    for (const phase of ['invoke', 'gateway', 'queue', 'acquire', 'run']) {
      expect(await waterfall.textContent()).toContain(phase);
    }
    await page.getByText(/^runs /).waitFor();
  });
});

describe('an invocation', () => {
  test('a running invocation is cancelled from its page', async () => {
    const { page } = visitor;
    const id = await platform.queue('retries', { sleepMs: 4_000 });
    await visitor.visit(`/invocations/${id}`);
    await page.locator('.chip.running').first().waitFor({ timeout: SEEN_MS });
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Cancel it' }).click();
    await page.locator('.summary .chip', { hasText: 'cancelled' }).waitFor({ timeout: SEEN_MS });
    expect(await platform.ended(id)).toMatchObject({ outcome: 'cancelled' });
  });
});

describe('dead letters', () => {
  test('a failed invocation is listed as a dead letter, is redriven, and comes back when it fails again', async () => {
    const { page } = visitor;
    const id = await platform.queue('retries', { fail: 'throw' });
    await platform.ended(id);
    await visitor.visit('/queues');
    const row = page.getByRole('row').filter({ has: page.getByRole('button', { name: `Redrive ${id}` }) });
    await row.waitFor({ timeout: SEEN_MS });
    await row.getByRole('button', { name: `Redrive ${id}` }).click();
    await page.getByText('1 dead letter is queued again').waitFor();
    await expect
      .poll(async () => ((await platform.ended(id)) as { redriven?: number }).redriven, { timeout: SEEN_MS })
      .toBe(1);
    await row.waitFor({ timeout: SEEN_MS });
  });

  test('a dead letter is purged only after a question [DA7]', async () => {
    const { page } = visitor;
    await page.getByRole('button', { name: 'Purge all shown' }).click();
    await page.getByRole('button', { name: 'Keep' }).click();
    expect(await page.getByRole('button', { name: /^Redrive [0-9a-f]{8}/ }).count()).toBe(1);
    await page.getByRole('button', { name: 'Purge all shown' }).click();
    await page.getByRole('button', { name: 'Purge', exact: true }).click();
    await page.getByText('There are none.').waitFor({ timeout: SEEN_MS });
  });
});

describe('the list of invocations', () => {
  test('the list of invocations shows only the chosen ones, and its address holds the filter', async () => {
    const { page } = visitor;
    await visitor.visit('/invocations');
    await page.locator('tbody tr').nth(2).waitFor();
    const all = await page.locator('tbody tr').count();
    await page.getByLabel('Outcome').selectOption('cancelled');
    await expect.poll(() => page.locator('tbody tr').count()).toBe(1);
    expect(new URL(page.url()).search).toBe('?outcome=cancelled');
    await page.getByLabel('Outcome').selectOption('');
    await page.getByLabel('Took at least, ms').fill('100000');
    await page.getByText('No invocation fits this filter').waitFor();
    await page.getByRole('link', { name: 'Show all' }).click();
    await expect.poll(() => page.locator('tbody tr').count()).toBe(all);
  });
});

test('every section is reached by keyboard alone', async () => {
  const { page } = visitor;
  await visitor.visit('');
  await page.locator('table').waitFor();
  await page.keyboard.press('Tab');
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Skip to content');
  const reached: string[] = [];
  for (let step = 0; step < 12; step++) {
    await page.keyboard.press('Tab');
    reached.push((await page.evaluate(() => document.activeElement?.textContent)) ?? '');
  }
  expect(reached).toEqual(
    expect.arrayContaining(['Functions', 'Invocations', 'Queues', 'Workers', 'Sign out']),
  );
});

test('the browser reported no error, no dialog, no policy violation and no request to another origin', () => {
  expect(visitor.complaints).toEqual([]);
});
