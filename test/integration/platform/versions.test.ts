/** Versions of a function through real processes: settings that hold for all of them, and old ones that are still needed. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Accepted, AnyInvocationDetail, FunctionDetail, InvocationDetail } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import { Queues } from '#storage/queued/jobs.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { packArchive } from '../../support/platform/archive.ts';
import { withRedis } from '../../support/platform/backlog.ts';
import { Platform } from '../../support/platform/platform.ts';

const KEPT = 3;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({
    OFFSHOOT_KEPT_VERSIONS: String(KEPT),
    // The shorter the wait of a call, the sooner a version that no call can reach any more may go.
    OFFSHOOT_QUEUE_TIMEOUT_MS: '1000',
    OFFSHOOT_PREPARED: '1',
  });
}, 60_000);
afterAll(() => platform.stop());

/** Deploys a version that answers with the word after `ms` milliseconds. */
async function deploy(
  name: string,
  word: string,
  { ms = 0, ...settings }: { ms?: number; maxConcurrency?: number } = {},
): Promise<void> {
  const code = `const later = () => new Promise((resolve) => setTimeout(resolve, ${ms}));
    export default { fetch: async () => (await later(), new Response('${word}')) };`;
  const { digest, bytes } = await packArchive({ 'index.mjs': code });
  const uploaded = await fetch(`${platform.url}/api/v1/artifacts/${digest}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${platform.key}` },
    body: new Uint8Array(bytes),
  });
  expect([200, 201]).toContain(uploaded.status);
  const manifest = { name, access: 'public', ...settings };
  const response = await platform.api(`/functions/default/${name}/versions`, {
    method: 'POST',
    body: JSON.stringify({ digest, entryFile: 'index.mjs', manifest }),
  });
  expect(response.status, await response.clone().text()).toBe(201);
}

/** Queues a request to the function's own URL. */
async function queue(name: string, headers: Record<string, string> = {}): Promise<string> {
  const response = await platform.call(name, {
    headers: { prefer: 'respond-async', authorization: `Bearer ${platform.key}`, ...headers },
  });
  expect(response.status).toBe(202);
  return ((await response.json()) as Accepted).id;
}

async function versions(name: string): Promise<number[]> {
  const response = await platform.api(`/functions/default/${name}`);
  return ((await response.json()) as FunctionDetail).versions.map(({ version }) => version);
}

test('an invocation that was queued for a version runs on it after more than thirty deploys [DE5]', async () => {
  await deploy('worded', 'first');
  const id = await queue('worded', { 'x-offshoot-delay': '3600' });
  for (let at = 2; at <= 32; at++) await deploy('worded', `word ${at}`);
  // The calls of version 2, if there were any, are over: only the invocation keeps version 1 when that is trimmed.
  await expect
    .poll(
      async () => {
        await deploy('worded', 'last');
        return (await versions('worded')).includes(2);
      },
      { timeout: 40_000, interval: 500 },
    )
    .toBe(false);
  const left = await versions('worded');
  expect(left.at(-1)).toBe(1);
  expect(left.length).toBeGreaterThan(KEPT);
  expect(await (await platform.call('worded')).text()).toBe('last');
  await beginNow(id);
  const record = await platform.ended(id);
  expect(record).toMatchObject({ outcome: 'ok', version: 1 });
  const result = await platform.api(`/invocations/${id}/result`);
  expect(await result.text()).toBe('first');
}, 120_000);

/** Lets an invocation begin that is delayed by an hour. */
async function beginNow(id: string): Promise<void> {
  await withRedis(platform.redis.url, async (redis) => {
    const found = await new QueuedStore(redis).find(id);
    await redis.set(keys.invocation(id), JSON.stringify({ ...found?.record, dueAt: 0 }), 'KEEPTTL');
    await new Queues(redis).promote('default', id);
  });
}

/** Largest number of these that ran at the same time. */
function overlap(records: readonly InvocationDetail[]): number {
  const times = records.flatMap(({ attempts = [] }) =>
    attempts.flatMap(({ startedAt, endedAt = Infinity }) => [
      { at: startedAt, change: 1 },
      { at: endedAt, change: -1 },
    ]),
  );
  let running = 0;
  return times
    .toSorted((a, b) => a.at - b.at || a.change - b.change)
    .reduce((most, { change }) => Math.max(most, (running += change)), 0);
}

test.each([
  ['hold for calls to an earlier version', { maxConcurrency: 1 }, 1],
  ['hold until the next deploy (control: without a limit they overlap)', {}, 4],
])(
  'settings of the latest deploy %s [DE4]',
  async (_, settings, most) => {
    const name = `limited-${most}`;
    await deploy(name, 'earlier', { ms: 500 });
    const ids = await Promise.all(Array.from({ length: 4 }, () => queue(name, { 'x-offshoot-delay': '3' })));
    await deploy(name, 'later', settings);
    const records = await Promise.all(ids.map((id) => platform.ended(id)));
    expect(records.map(({ version, outcome }) => [version, outcome])).toEqual(ids.map(() => [1, 'ok']));
    expect(overlap(records)).toBe(most);
  },
  60_000,
);

test('a job of a function of an older form waits, and the log says for what; after the command in it the job ends [DE6]', async () => {
  await deploy('outdated', 'word');
  const id = await queue('outdated', { 'x-offshoot-delay': '3600' });
  await withRedis(platform.redis.url, async (redis) => {
    const stored = JSON.parse((await redis.hget(keys.functions('default'), 'outdated')) ?? '') as object;
    await redis.hset(
      keys.functions('default'),
      'outdated',
      JSON.stringify({ ...stored, settings: undefined }),
    );
  });
  await beginNow(id);
  const command = 'offshoot rm default/outdated';
  await expect
    .poll(() => platform.output.split('\n').some((line) => line.includes(command) && line.includes(id)))
    .toBe(true);
  const waiting = await platform.api(`/invocations/${id}`);
  const { state, attempts = [] } = (await waiting.json()) as AnyInvocationDetail;
  expect([state, attempts]).toEqual(['queued', []]);
  const { code } = await platform.cli(...command.split(' ').slice(1), '--yes');
  expect(code).toBe(0);
  await beginNow(id);
  expect(await platform.ended(id)).toMatchObject({ outcome: 'function_removed' });
}, 60_000);
