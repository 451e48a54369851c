/** The page of a whole trace: every span of every function by name, by mouse, by keyboard, and while it is under way. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser, Visitor } from '../support/servers/browser.ts';
import { Platform } from '../support/platform/platform.ts';

const own = Object.values(networkInterfaces())
  .flat()
  .find((entry) => entry?.family === 'IPv4' && !entry.internal)?.address;
const PACKAGES = fileURLToPath(new URL('../../functions/traced/node_modules', import.meta.url));
const CALLER = '00f067aa0ba902b7';
const MARKUP = '<img src=x onerror="alert(1)" class="injected">';

/** Instructions for a function: one span for each step. A step may call another function, with steps of its own. */
interface Step {
  readonly name: string;
  readonly ms?: number;
  readonly fail?: string;
  readonly attributes?: Readonly<Record<string, string | number>>;
  readonly call?: { readonly url: string; readonly steps: readonly Step[] };
  readonly steps?: readonly Step[];
}

const SOURCE = `import { SpanStatusCode, trace } from '@opentelemetry/api';
const tracer = trace.getTracer('shop');
const walk = (steps) => steps.reduce((before, step) => before.then(() => take(step)), Promise.resolve());
const take = (step) => tracer.startActiveSpan(step.name, { attributes: step.attributes ?? {} }, async (span) => {
  if (step.ms) await new Promise((resolve) => setTimeout(resolve, step.ms));
  if (step.call) {
    const body = JSON.stringify(step.call.steps);
    await (await fetch(step.call.url, { method: 'POST', body })).text();
  }
  await walk(step.steps ?? []);
  if (step.fail) span.setStatus({ code: SpanStatusCode.ERROR, message: step.fail });
  span.end();
});
export default { async fetch(request) {
  await walk(await request.json());
  return Response.json({ done: true });
} };`;

let platform: Platform;
let browser: Browser;
let visitor: Visitor;
let traces = 0;

async function deploy(name: string): Promise<void> {
  const folder = join(platform.state, 'projects', name);
  await mkdir(join(folder, 'src'), { recursive: true });
  await symlink(PACKAGES, join(folder, 'node_modules'));
  await writeFile(join(folder, 'src/index.ts'), `// @ts-nocheck\n${SOURCE}`);
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name, type: 'module' }));
  const network = { egress: [`${own}:${new URL(platform.url).port}`] };
  await writeFile(
    join(folder, 'offshoot.json'),
    JSON.stringify({ name, access: 'public', timeout: 20, network }),
  );
  const { code, stdout, stderr } = await platform.cli('deploy', folder, '--json', '--namespace', 'shop');
  if (code !== 0) throw new Error(stdout + stderr);
}

/** Starts steps in a function of the shop, called with a trace context of the caller's own. */
function begin(name: string, steps: readonly Step[]): { traceId: string; answer: Promise<Response> } {
  const traceId = `${'5eed'.repeat(7)}${String(++traces).padStart(4, '0')}`;
  const answer = fetch(`${platform.url}/fn/shop/${name}`, {
    method: 'POST',
    body: JSON.stringify(steps),
    headers: { traceparent: `00-${traceId}-${CALLER}-01` },
  });
  return { traceId, answer };
}

async function walk(name: string, steps: readonly Step[]): Promise<{ traceId: string; id: string }> {
  const { traceId, answer } = begin(name, steps);
  const response = await answer;
  expect(response.status).toBe(200);
  return { traceId, id: (await platform.record(response)).id };
}

const at = (name: string): string => `http://${own}:${new URL(platform.url).port}/fn/shop/${name}`;

// The host's own address stands for "some address that a rule names"; a machine without one cannot show this.
describe.skipIf(own === undefined)('a whole trace', () => {
  let invocation = '';

  beforeAll(async () => {
    [platform, browser] = await Promise.all([Platform.start({ OFFSHOOT_HOST: '0.0.0.0' }), openBrowser()]);
    for (const name of ['checkout', 'stock', 'payment']) await deploy(name);
    // Gives the screenshot a usual trace.
    for (const name of ['checkout', 'stock', 'payment']) await walk(name, [{ name: 'warm up' }]);
    ({ id: invocation } = await walk('checkout', [
      { name: 'price the basket', ms: 14, attributes: { 'basket.items': 3, 'basket.currency': 'EUR' } },
      {
        name: 'reserve stock',
        call: {
          url: at('stock'),
          steps: [
            { name: 'find the shelf', ms: 6 },
            { name: 'take from the shelf', ms: 9 },
          ],
        },
      },
      {
        name: 'charge the card',
        ms: 3,
        call: {
          url: at('payment'),
          steps: [
            { name: 'ask the bank', ms: 12, fail: 'the bank is busy', attributes: { 'bank.try': 1 } },
            { name: 'ask the bank again', ms: 17, attributes: { 'bank.try': 2 } },
          ],
        },
      },
      { name: 'write the receipt', ms: 5 },
    ]));
    visitor = await Visitor.open(browser, platform);
    await visitor.signIn(platform.key);
    await visitor.page.getByRole('heading', { name: 'Functions' }).waitFor();
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await platform?.stop();
  });

  /** The line of a span. */
  const line = (name: string) => visitor.page.locator('.trace-line').filter({ hasText: name });

  test('a trace opens from the page of an invocation, and shows each span of each function [DA10]', async () => {
    const { page } = visitor;
    await visitor.visit(`/invocations/${invocation}`);
    await page.getByRole('link', { name: 'whole trace' }).click();
    await page.getByRole('heading', { name: 'Trace', exact: true }).waitFor();
    await page.locator('.trace').waitFor();
    const rows = (await page.locator('.trace-line').allInnerTexts()).map((text) =>
      text.replaceAll(/\s+/g, ' '),
    );
    const expected = [
      ['caller', 1, 'caller'],
      ['shop/checkout', 2, 'gateway'],
      ['queue', 3, 'queue'],
      ['run', 3, 'worker'],
      ['price the basket', 4, 'function'],
      ['reserve stock', 4, 'function'],
      ['POST', 5, 'function'],
      ['shop/stock', 6, 'gateway'],
      ['take from the shelf', 8, 'function'],
      ['shop/payment', 6, 'gateway'],
      ['ask the bank again', 8, 'function'],
      ['write the receipt', 4, 'function'],
    ] as const;
    for (const [name, level, process] of expected) {
      const found = rows.find(
        (row) => row.startsWith(`Level ${level}: ${name}`) && row.includes(` ${process} `),
      );
      expect(found, `${name} in\n${rows.join('\n')}`).toBeDefined();
    }
    expect(rows[0]).toContain('its own times are not known here');
    expect(rows.filter((row) => row.includes(' failed '))).toEqual([expect.stringContaining('ask the bank')]);
    expect(await page.locator('.summary').textContent()).toContain('3 invocations of 3 functions');
    expect(await visitor.findings()).toEqual([]);
    await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
    // One screenshot shows the whole trace.
    await page.setViewportSize({ width: 1280, height: 960 });
    await visitor.shoot('trace-light');
  });

  test('a span that is opened, by mouse or by keyboard, shows its details', async () => {
    const { page } = visitor;
    await line('price the basket').click();
    const facts = page.locator('.trace-facts');
    expect(await facts.textContent()).toContain('basket.currencyEUR');
    await line('price the basket').click();
    expect(await facts.count()).toBe(0);
    const failed = line('ask the bank').first();
    await failed.focus();
    await page.keyboard.press('Enter');
    expect(await failed.getAttribute('aria-expanded')).toBe('true');
    expect(await facts.textContent()).toContain('the bank is busy');
    expect(await visitor.findings()).toEqual([]);
    await page.keyboard.press('Enter');
    expect(await facts.count()).toBe(0);
  });

  test('a trace links to each of its invocations', async () => {
    const { page } = visitor;
    const row = page.locator('.trace li').filter({ hasText: 'shop/payment' });
    await row.getByRole('link').click();
    await page.getByRole('heading', { name: 'Invocation', exact: true }).waitFor();
    await page.locator('.summary', { hasText: 'payment' }).waitFor();
    // That page links back to the same trace.
    await page.getByRole('link', { name: 'whole trace' }).click();
    await line('shop/checkout').waitFor();
  });

  test('the page of a trace follows running invocations', async () => {
    const { page } = visitor;
    const { traceId, answer } = begin('checkout', [{ name: 'think', ms: 4_000 }]);
    await expect
      .poll(async () => (await platform.api(`/traces/${traceId}`)).status, { timeout: 15_000 })
      .toBe(200);
    await visitor.visit(`/traces/${traceId}`);
    await page.locator('.trace-line', { hasText: 'runs' }).first().waitFor();
    expect(await line('think').count()).toBe(0);
    await line('shop/checkout').click();
    await line('think').waitFor({ timeout: 20_000 });
    expect(await page.locator('.summary .chip.running').count()).toBe(0);
    // The opened span is still open, though rows were added before and behind it.
    expect(await line('shop/checkout').getAttribute('aria-expanded')).toBe('true');
    expect(await page.locator('.trace-facts').textContent()).toContain('faas.invocation_id');
    await answer;
  });

  test('a hostile span name is shown as text, and so is a hostile attribute', async () => {
    const { page } = visitor;
    const { traceId } = await walk('checkout', [
      { name: `${MARKUP}\u001b[31m\u202e`, fail: MARKUP, attributes: { [MARKUP]: MARKUP } },
    ]);
    await visitor.visit(`/traces/${traceId}`);
    await line(MARKUP).click();
    expect(await page.locator('.trace-facts').textContent()).toContain(MARKUP);
    const shown = (await page.locator('.trace').textContent()) ?? '';
    expect(shown).toContain('\\u202e');
    for (const sign of ['\u001b', '\u202e']) expect(shown.includes(sign)).toBe(false);
    expect(await page.locator('.injected, [onerror]').count()).toBe(0);
  });

  test('the page of a trace is readable in the dark, and the page of an unknown trace says so', async () => {
    const dark = await Visitor.open(browser, platform, 'dark');
    await dark.signIn(platform.key);
    await dark.page.getByRole('heading', { name: 'Functions' }).waitFor();
    const { traceId } = await walk('checkout', [{ name: 'dim' }]);
    await dark.visit(`/traces/${traceId}`);
    await dark.page.locator('.trace').waitFor();
    expect(await dark.findings()).toEqual([]);
    await dark.shoot('trace-dark');
    await dark.visit(`/traces/${'b'.repeat(32)}`);
    await dark.page.getByRole('alert').getByText('there is no trace', { exact: false }).waitFor();
    expect(dark.complaints).toEqual([]);
    await dark.context.close();
  });

  test('the browser reported no error, no dialog, no policy violation and no request to another origin', () => {
    expect(visitor.complaints).toEqual([]);
  });
});
