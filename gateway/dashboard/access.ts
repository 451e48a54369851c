/** How requests of the dashboard's pages come through the management API, with the session in the place of a key. */
import type { Context } from 'hono';
import { getCookie } from 'hono/cookie';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import type { Sample } from '#contract/api/dashboard.ts';
import { PAGE_HEADER } from '#contract/api/headers.ts';
import type { AppEnv } from '../routes/endpoint.ts';
import type { Samples } from '../records/samples.ts';
import { SESSION_COOKIE, type Session, type Sessions } from './sessions.ts';

/** What the app needs for the dashboard, beside what it has for the API. */
export interface DashboardDeps {
  readonly sessions: Sessions;
  readonly samples: Samples;
  readonly queueCounts: (
    namespace: string,
  ) => Promise<{ waiting: number; active: number; delayed: number; lane: number; deadListed: number }>;
  readonly lastScheduled: (namespace: string, name: string) => Promise<Sample | undefined>;
  /** Is X-Forwarded-Proto of a proxy believed? */
  readonly trustProxy: boolean;
}

const PREFIX = '/dashboard/api/';

/** The path by which a request is routed: the API's own is the same below /dashboard. */
export function apiPath(path: string): string {
  return path.startsWith(PREFIX) ? path.slice('/dashboard'.length) : path;
}

/** Who asks the API from the dashboard; undefined where it is asked as everybody else asks it. */
export async function dashboardHolder(
  context: Context<AppEnv>,
  sessions: Sessions,
): Promise<ApiKeyRecord | undefined> {
  if (!new URL(context.req.url).pathname.startsWith(PREFIX)) return undefined;
  return (await sessionOf(context, sessions)).holder;
}

/** Throws `unauthorized` and `forbidden`. */
export async function sessionOf(context: Context<AppEnv>, sessions: Sessions): Promise<Session> {
  return await sessions.demand(getCookie(context, SESSION_COOKIE), context.req.header(PAGE_HEADER));
}
