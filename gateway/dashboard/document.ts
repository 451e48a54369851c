/** The one HTML document of the dashboard, which its script fills, and the headers that guard it. */
import { html } from 'hono/html';
import type { SignedIn } from '#contract/api/dashboard.ts';

/**
 * Allows no script or style but the platform's own files, and no string as markup or script (Trusted Types): output, answers
 * and errors of functions are shown as text.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

export const DOCUMENT_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': POLICY,
  // Cuts off a function's page that has opened this one, because the function's page could read it otherwise. See sessions.ts.
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

/** `usable`: the browser isolates pages of this address from each other, which it does over https and on the host itself. */
export function document(session: SignedIn | undefined, usable: boolean): ReturnType<typeof html> {
  const state = JSON.stringify({ session, usable });
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <title>Offshoot</title>
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta name="offshoot" content="${state}" />
        <link rel="icon" href="/dashboard/assets/icon.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/dashboard/assets/main.css" />
        <script type="module" src="/dashboard/assets/main.js"></script>
      </head>
      <body>
        <div id="app"></div>
        <noscript>The dashboard needs JavaScript; the command line shows the same: offshoot help</noscript>
      </body>
    </html>`;
}

/** A shoot from a stem. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0f766e"/><path d="M11 26V6M11 18c0-5 3-8 10-8" fill="none" stroke="#fff" stroke-width="3.4" stroke-linecap="round"/><circle cx="22" cy="10" r="3.4" fill="#fff"/></svg>`;
