/**
 * The routes of /dashboard: its document, its files, sign-in and sign-out, its live views. Changes go through the management
 * API, which is also served below /dashboard/api, where the browser sends the session's cookie (access.ts).
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { z } from 'zod';
import type { SignedIn } from '#contract/api/dashboard.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { SESSION_TTL_S } from '#contract/platform/keys.ts';
import type { AppDeps, AppEnv } from '../routes/endpoint.ts';
import { Assets } from './assets.ts';
import { document, DOCUMENT_HEADERS, ICON } from './document.ts';
import { Live } from './live.ts';
import { sessionOf } from './access.ts';
import { COOKIE_PATH, SESSION_COOKIE, type Session } from './sessions.ts';

const SignIn = z.object({ key: z.string().max(128) });

export function addDashboard(app: OpenAPIHono<AppEnv>, deps: AppDeps): void {
  const { sessions, trustProxy } = deps.dashboard;
  const assets = new Assets();
  const live = new Live(deps);

  app.get('/dashboard/assets/icon.svg', (context) =>
    context.body(ICON, 200, { 'content-type': 'image/svg+xml', 'cache-control': 'max-age=86400' }),
  );
  app.get('/dashboard/assets/:name', async (context) => {
    const asset = await assets.get(context.req.param('name'));
    if (!asset) throw new OffshootError('not_found', `there is no ${context.req.path}`);
    const headers = {
      'content-type': asset.type,
      etag: asset.etag,
      'cache-control': 'no-cache',
      'x-content-type-options': 'nosniff',
    };
    if (context.req.header('if-none-match') === asset.etag) return context.body(null, 304, headers);
    return context.body(asset.body, 200, headers);
  });

  app.post('/dashboard/session', bodyLimit({ maxSize: 4_096 }), async (context) => {
    // A form on another site must not sign the browser in with another user's key.
    if (context.req.header('sec-fetch-site') !== 'same-origin') {
      throw new OffshootError('forbidden', 'signing in is done from the page of the dashboard');
    }
    const parsed = SignIn.safeParse(await context.req.json().catch(() => undefined));
    if (!parsed.success) throw new OffshootError('bad_request', 'the body must be {"key": "osk_…"}');
    const token = await sessions.begin(parsed.data.key.trim());
    setCookie(context, SESSION_COOKIE, token, {
      path: COOKIE_PATH,
      httpOnly: true,
      sameSite: 'Strict',
      secure: isSecure(context, trustProxy),
      maxAge: SESSION_TTL_S,
    });
    return context.body(null, 204, { 'cache-control': 'no-store' });
  });
  app.delete('/dashboard/session', async (context) => {
    await sessions.end(await sessionOf(context, sessions));
    deleteCookie(context, SESSION_COOKIE, { path: COOKIE_PATH });
    return context.body(null, 204);
  });

  app.get('/dashboard/live/:view', async (context) => {
    const session = await sessionOf(context, sessions);
    const again = (): Promise<Session | undefined> => sessions.find(getCookie(context, SESSION_COOKIE));
    return live.answer(context, context.req.param('view'), session, again);
  });

  const page = async (context: Context<AppEnv>): Promise<Response> => {
    const destination = context.req.header('sec-fetch-dest');
    const isPage = destination === 'document' && context.req.header('sec-fetch-mode') === 'navigate';
    const session = isPage ? await sessions.find(getCookie(context, SESSION_COOKIE)) : undefined;
    const signedIn: SignedIn | undefined = session && {
      namespace: session.holder.namespace,
      scopes: session.holder.scopes,
      version: deps.version,
      page: session.page,
    };
    // Browsers omit this header when the address is neither https nor the host itself.
    return context.html(document(signedIn, destination !== undefined), 200, DOCUMENT_HEADERS);
  };
  app.get('/dashboard', page);
  app.get('/dashboard/*', page);
}

function isSecure(context: Context<AppEnv>, trustProxy: boolean): boolean {
  return trustProxy && context.req.header('x-forwarded-proto')?.split(',')[0]?.trim() === 'https';
}
