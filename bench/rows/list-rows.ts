/**
 * Reading 10,000 invocations of a function: by the API, and in the dashboard, whose gateway caches the records it has
 * read.
 */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { InvocationList } from '#contract/api/api.ts';
import type { InvocationsPage } from '#contract/api/dashboard.ts';
import { startRedis } from '../../infra/platform/redis.ts';
import { startOwnPlatform, type OwnPlatform } from '../measure/own-platform.ts';
import type { Run } from '../measure/run.ts';
import { figure, type Section } from '../measure/stats.ts';

const INVOCATIONS = 10_000;
const AT_ONCE = 32;
const LOOKS = 30;
/** Pause between two reads, longer than a gateway shows a cached page unchanged. */
const APART_MS = 600;
const FAILING = `export default {
  fetch(request) {
    if (request.headers.get('x-fail') === 'yes') throw new Error('asked to fail');
    return Response.json({ greeting: 'Hello' });
  },
};
`;
/** One invocation in this number fails. */
const FAILS = 100;
/** Headers of a browser for a page, and for a script of that page. */
const AS_PAGE = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none' };
const AS_SCRIPT = { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty', 'sec-fetch-site': 'same-origin' };

export async function listSection(run: Run): Promise<Section> {
  const redis = await startRedis({ dir: join(run.temporary, 'redis') });
  const platform = await startOwnPlatform(run, redis.url);
  try {
    const url = await platform.deploy('listed', FAILING);
    await call(url, run.stopping);
    // Records are written after the answers.
    await sleep(APART_MS);
    const api = { authorization: `Bearer ${platform.key}` };
    const listed = async (query: string): Promise<InvocationList> => {
      const response = await fetch(`${platform.url}/api/v1/invocations?${query}`, { headers: api });
      return (await response.json()) as InvocationList;
    };
    const found = await listed('limit=1');
    const trace = found.invocations[0]?.traceId ?? '';
    const asked = performance.now();
    const failed = await listed('outcome=error&limit=1000');
    const first = performance.now() - asked;
    if (failed.invocations.length !== INVOCATIONS / FAILS)
      throw new Error(`${failed.invocations.length} failed ones were listed`);
    const figures = [figure('failures, the first look of a gateway', 'ms', [first])];
    const queries = { 'the newest 50': 'limit=50', failures: 'outcome=error', 'one trace': `trace=${trace}` };
    const session = await signIn(platform);
    const looks = { 'all of them': '', failures: 'outcome=error', 'slower than 1 s': 'slower=1000' };
    const times = new Map<string, number[]>();
    const note = (row: string, ms: number): void => void times.set(row, [...(times.get(row) ?? []), ms]);
    for (let turn = 0; turn < LOOKS; turn++) {
      for (const [name, query] of Object.entries(queries)) {
        const begun = performance.now();
        await listed(query);
        note(`API: ${name}`, performance.now() - begun);
      }
      for (const [name, query] of Object.entries(looks)) {
        await sleep(APART_MS / Object.keys(looks).length);
        note(`dashboard: ${name}`, await look(platform, session, query));
      }
    }
    for (const [row, all] of times) figures.push(figure(row, 'ms', all));
    return { name: 'list', title: `Looking at ${INVOCATIONS} invocations of a function`, figures };
  } finally {
    await platform.stop();
    await redis.stop();
  }
}

async function call(url: string, signal: AbortSignal): Promise<void> {
  let left = INVOCATIONS;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left > 0) {
        const headers = left-- % FAILS === 0 ? { 'x-fail': 'yes' } : undefined;
        const response = await fetch(url, { signal, ...(headers && { headers }) });
        await response.arrayBuffer();
      }
    }),
  );
}

interface Session {
  readonly cookie: string;
  readonly 'x-offshoot-page': string;
}

async function signIn({ url, key }: OwnPlatform): Promise<Session> {
  const signed = await open(`${url}/dashboard/session`, AS_SCRIPT, JSON.stringify({ key }));
  signed.resume();
  const cookie = signed.headers['set-cookie']?.[0]?.split(';')[0] ?? '';
  const page = await text(await open(`${url}/dashboard`, { ...AS_PAGE, cookie }));
  return { cookie, 'x-offshoot-page': /&quot;page&quot;:&quot;([\w-]{43})&quot;/.exec(page)?.[1] ?? '' };
}

/** Milliseconds until the first event of the page's stream is complete. */
async function look({ url }: OwnPlatform, session: Session, query: string): Promise<number> {
  const begun = performance.now();
  const response = await open(`${url}/dashboard/live/invocations?${query}`, { ...AS_SCRIPT, ...session });
  let event = '';
  for await (const piece of response) {
    event += String(piece);
    if (event.includes('\n\n')) break;
  }
  const ms = performance.now() - begun;
  response.destroy();
  const { looked } = JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? '{}') as Partial<InvocationsPage>;
  if (looked !== INVOCATIONS) throw new Error(`the dashboard looked at ${looked}: ${event.slice(0, 200)}`);
  return ms;
}

/** Sends the request as a browser does. Not by fetch, which sets these headers in its own way. */
async function open(
  url: string,
  headers: Readonly<Record<string, string>>,
  body?: string,
): Promise<IncomingMessage> {
  const method = body === undefined ? 'GET' : 'POST';
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  const sent = request(url, { method, headers: { ...headers, ...type }, agent: false });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response;
}
