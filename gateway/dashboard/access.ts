/** Lets the dashboard's pages call the management API, with the session in place of a key. */
import type { Context } from 'hono';
import { getCookie } from 'hono/cookie';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import type { Sample } from '#contract/api/dashboard.ts';
import { PAGE_HEADER } from '#contract/api/headers.ts';
import type { Samples } from '../records/samples.ts';
import { SESSION_COOKIE, type Session, type Sessions } from './sessions.ts';

/** Parts of the app that only the dashboard needs. */
export interface DashboardDeps {
  readonly sessions: Sessions;
  readonly samples: Samples;
  readonly queueCounts: (
    namespace: string,
  ) => Promise<{ waiting: number; active: number; delayed: number; lane: number; deadListed: number }>;
  readonly lastScheduled: (namespace: string, name: string) => Promise<Sample | undefined>;
  /** Whether X-Forwarded-Proto of a proxy is trusted. */
  readonly trustProxy: boolean;
}

const PREFIX = '/dashboard/api/';

/** The path by which a request is routed: a path of the API is also served below /dashboard. */
export function apiPath(path: string): string {
  return path.startsWith(PREFIX) ? path.slice('/dashboard'.length) : path;
}

/** The key record behind a request that comes from the dashboard; undefined for all other requests to the API. */
export async function dashboardHolder(
  context: Context,
  sessions: Sessions,
): Promise<ApiKeyRecord | undefined> {
  if (!new URL(context.req.url).pathname.startsWith(PREFIX)) return undefined;
  return (await sessionOf(context, sessions)).holder;
}

/** Throws `unauthorized` and `forbidden`. */
export async function sessionOf(context: Context, sessions: Sessions): Promise<Session> {
  return await sessions.demand(getCookie(context, SESSION_COOKIE), context.req.header(PAGE_HEADER));
}
