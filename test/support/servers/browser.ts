/** Debian's Chromium with one page of the dashboard, and the errors of that page. */
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import axe from 'axe-core';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

const CHROMIUM = process.env['OFFSHOOT_CHROMIUM'] ?? '/usr/bin/chromium';
/** Screenshots of this run. */
export const SHOTS = join(process.env['OFFSHOOT_STATE'] ?? tmpdir(), 'screenshots');

export type Scheme = 'light' | 'dark';

export async function openBrowser(): Promise<Browser> {
  await mkdir(SHOTS, { recursive: true });
  return await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--disable-gpu', '--disable-dev-shm-usage'],
  });
}

/** A person with a browser at the dashboard. */
export class Visitor {
  readonly page: Page;
  readonly context: BrowserContext;
  readonly #url: string;
  /**
   * Violations of the content security policy, errors of scripts, dialogs, requests to other origins. There must be
   * none.
   */
  readonly complaints: string[] = [];

  private constructor(url: string, context: BrowserContext, page: Page) {
    this.#url = url;
    this.context = context;
    this.page = page;
    page.on('dialog', (dialog) => {
      this.complaints.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('pageerror', (error) => this.complaints.push(`error: ${error.message}`));
    page.on('console', (message) => {
      // The page shows the gateway's refusals, and the tests look there.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
        this.complaints.push(`console: ${message.text()}`);
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(url)) this.complaints.push(`request: ${request.url()}`);
    });
  }

  static async open(
    browser: Browser,
    { url }: { readonly url: string },
    scheme: Scheme = 'light',
  ): Promise<Visitor> {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      colorScheme: scheme,
      locale: 'en-GB',
      reducedMotion: 'reduce',
    });
    return new Visitor(url, context, await context.newPage());
  }

  async visit(path: string): Promise<void> {
    await this.page.goto(`${this.#url}/dashboard${path}`);
  }

  async signIn(key: string): Promise<void> {
    await this.visit('');
    await this.page.getByLabel('API key').fill(key);
    await this.page.getByRole('button', { name: 'Sign in' }).click();
  }

  /** Findings of axe-core that are serious or worse, in words. */
  async findings(): Promise<string[]> {
    await this.page.evaluate(axe.source);
    const found = await this.page.evaluate(async () => {
      const { axe: tool } = globalThis as unknown as { axe: typeof axe };
      const { violations } = await tool.run(document, { resultTypes: ['violations'] });
      return violations.map(({ id, impact, nodes }) => ({
        id,
        impact: impact ?? 'minor',
        nodes: nodes.map((node) => `${node.target.join(' ')}: ${node.failureSummary ?? ''}`),
      }));
    });
    return found
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).join(' | ')}`);
  }

  async shoot(name: string): Promise<void> {
    await this.page.screenshot({ path: join(SHOTS, `${name}.png`) });
  }
}
