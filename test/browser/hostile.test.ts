/**
 * Output of functions is shown as text in the dashboard. A page that a function serves gets no access to the dashboard,
 * whether or not both share an origin.
 */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Accepted, AnyInvocationDetail } from '#contract/api/api.ts';
import { openBrowser, Visitor } from '../support/servers/browser.ts';
import { Platform } from '../support/platform/platform.ts';

const MARKUP = '<img src=x onerror="alert(1)" class="injected">';

let platform: Platform;
let browser: Browser;
let visitor: Visitor;
const ids: string[] = [];

beforeAll(async () => {
  [platform, browser] = await Promise.all([Platform.start(), openBrowser()]);
  await platform.deploy('hostile-output');
  visitor = await Visitor.open(browser, platform);
  await visitor.signIn(platform.key);
  await visitor.page.getByRole('link', { name: 'default/hostile-output' }).waitFor();
  for (const event of [{}, { fail: true }]) {
    const response = await platform.api('/functions/default/hostile-output/invocations', {
      method: 'POST',
      body: JSON.stringify({ ...event, note: MARKUP }),
    });
    const { id } = (await response.json()) as Accepted;
    ids.push(id);
    for (let state = ''; state !== 'done';)
      ({ state } = (await (await platform.api(`/invocations/${id}`)).json()) as AnyInvocationDetail);
  }
}, 120_000);
afterAll(async () => {
  await browser.close();
  await platform.stop();
});

/** No markup of a function has become an element, and no script of it has run. */
async function expectText(): Promise<void> {
  expect(await visitor.page.locator('.injected, #app script, [onerror], [onload]').count()).toBe(0);
  expect(visitor.complaints).toEqual([]);
}

describe('markup in the output of a function', () => {
  test('markup in logs, input and result is shown as text [DA5]', async () => {
    await visitor.visit(`/invocations/${ids[0]}`);
    await visitor.page.locator('.logs').getByText(MARKUP).first().waitFor();
    expect(await visitor.page.locator('.logs li').count()).toBeGreaterThanOrEqual(3);
    // The function has also printed colours and a sign that reverses the direction of the text behind it.
    const shown = (await visitor.page.locator('.logs').textContent()) ?? '';
    expect(shown).toContain('\\u202e');
    for (const sign of ['\u001b', '\u202e']) expect(shown.includes(sign)).toBe(false);
    expect(await visitor.page.getByLabel('Result', { exact: true }).textContent()).toContain('onerror');
    expect(await visitor.page.getByLabel('Input', { exact: true }).textContent()).toContain('onerror');
    await expectText();
  });

  test('markup in the name and message of an error is shown as text', async () => {
    await visitor.visit(`/invocations/${ids[1]}`);
    await visitor.page.locator('.failure').getByText(MARKUP).first().waitFor();
    await expectText();
  });

  test('markup in lists and among dead letters is shown as text', async () => {
    await visitor.visit('/invocations');
    await visitor.page.locator('td.notes').getByText(MARKUP).first().waitFor();
    await expectText();
    await visitor.visit('/queues');
    await visitor.page.locator('td.notes').getByText(MARKUP).first().waitFor();
    await expectText();
  });

  test('markup in the answer below the form is shown as text', async () => {
    await visitor.visit('/functions/default/hostile-output');
    await visitor.page.getByRole('button', { name: 'Invoke' }).click();
    await visitor.page.getByLabel('Answer').getByText('onerror').waitFor();
    await expectText();
  });

  test('markup in an address is shown as text', async () => {
    for (const path of [
      `/functions/${MARKUP}/x`,
      `/invocations/${MARKUP}`,
      `/invocations?function=${MARKUP}`,
    ]) {
      await visitor.visit(path.replaceAll('"', '%22'));
      await visitor.page.getByRole('heading').first().waitFor();
    }
    await expectText();
  });

  test('a function whose name holds markup cannot be deployed', async () => {
    const response = await platform.api(`/functions/default/${encodeURIComponent('<img>')}/versions`, {
      method: 'POST',
      body: '{}',
    });
    expect(response.status).toBe(400);
  });
});

test('the browser refuses to turn a string into markup', async () => {
  const refused = await visitor.page.evaluate(() => {
    try {
      document.body.insertAdjacentHTML('beforeend', '<b class="injected">bold</b>');
      return false;
    } catch {
      return true;
    }
  });
  expect(refused).toBe(true);
  // Control: a violation of the content security policy appears among the complaints.
  expect(visitor.complaints.splice(0).join()).toContain('TrustedHTML');
});

test('a page of a function, opened in the signed-in browser, can neither read nor do anything in the dashboard [DA3]', async () => {
  const page = await visitor.context.newPage();
  await page.goto(`${platform.url}/fn/default/hostile-output`);
  await expect.poll(() => page.title(), { timeout: 30_000 }).toContain('worker');
  expect(JSON.parse(await page.title())).toEqual({
    // The page cannot even see that there is a session.
    cookie: '',
    live: 403,
    api: 403,
    cancel: 403,
    document: false,
    // Control: this page can read the pages of functions that it opens, so the next line could fail.
    control: true,
    opened: false,
    framed: false,
    worker: false,
  });
  await page.close();
});

describe('a session may do what its key may', () => {
  async function signedIn(namespace: string, scopes: string[]): Promise<{ who: Visitor; id: string }> {
    const made = await platform.api('/keys', { method: 'POST', body: JSON.stringify({ namespace, scopes }) });
    const { key, id } = (await made.json()) as { key: string; id: string };
    const who = await Visitor.open(browser, platform);
    await who.signIn(key);
    return { who, id };
  }

  test('a session whose key only reads changes nothing', async () => {
    const { who } = await signedIn('default', ['read']);
    await who.page.getByRole('link', { name: 'default/hostile-output' }).click();
    expect(await who.page.getByRole('button', { name: 'Invoke' }).isDisabled()).toBe(true);
    // The gateway refuses the action too, besides the disabled button.
    const status = await who.page.evaluate(async () => {
      const meta = document.querySelector<HTMLMetaElement>('meta[name=offshoot]')?.content ?? '{}';
      const { session } = JSON.parse(meta) as { session: { page: string } };
      const answer = await fetch('/dashboard/api/v1/functions/default/hostile-output/invoke', {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-offshoot-page': session.page },
        body: '{}',
      });
      return answer.status;
    });
    expect(status).toBe(403);
    await who.context.close();
  });

  test('a session for another namespace sees nothing of this one [DA4]', async () => {
    const { who } = await signedIn('elsewhere', ['read', 'invoke']);
    await who.page.getByText('No function is deployed yet').waitFor();
    await who.visit('/functions/default/hostile-output');
    await who.page.getByRole('alert').getByText('does not hold').waitFor();
    await who.visit(`/invocations/${ids[0]}`);
    await who.page.getByRole('alert').getByText('there is no invocation', { exact: false }).waitFor();
    await who.visit('/workers');
    await who.page.getByText('It holds no sandbox of yours').waitFor();
    await who.context.close();
  });

  test('a key without the scope read gets no session', async () => {
    const { who } = await signedIn('default', ['invoke']);
    await who.page.getByRole('alert').getByText('scope "read"').waitFor();
    await who.context.close();
  });

  test('a session ends when its key is deleted', async () => {
    const { who, id } = await signedIn('default', ['read']);
    await who.page.getByRole('heading', { name: 'Functions' }).waitFor();
    await platform.api(`/keys/${id}`, { method: 'DELETE' });
    await who.page.getByRole('heading', { name: 'Sign in' }).waitFor({ timeout: 20_000 });
    await who.context.close();
  });

  test('after signing out, the cookie of the session is worth nothing [DA1]', async () => {
    const { who } = await signedIn('default', ['read']);
    await who.page.getByRole('heading', { name: 'Functions' }).waitFor();
    const cookies = await who.context.cookies(`${platform.url}/dashboard`);
    await who.page.getByRole('button', { name: 'Sign out' }).click();
    await who.page.getByRole('heading', { name: 'Sign in' }).waitFor();
    expect(await who.context.cookies(`${platform.url}/dashboard`)).toEqual([]);
    await who.context.addCookies(cookies);
    await who.visit('');
    await who.page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await who.context.close();
  });
});
