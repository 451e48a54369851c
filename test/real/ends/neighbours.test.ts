/** A4: one invocation does not pay for another that runs in the same sandbox. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deploySource, untilLogged } from '../../support/real/deployed.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  const { code, stderr } = await deploySource(platform, 'shared', SOURCE, {
    concurrency: 8,
    timeout: 5,
    retries: { attempts: 1 },
  });
  expect(code, stderr).toBe(0);
});
afterAll(() => platform.stop());

const SOURCE = `
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export default { async fetch(request) {
  const url = new URL(request.url);
  const given = request.method === 'POST' ? await request.json().catch(() => ({})) : {};
  const way = url.searchParams.get('way') ?? given.way;
  if (way === 'reject') { await sleep(300); Promise.reject(new Error('stray')); await sleep(3_000); }
  if (way === 'exit') { await sleep(300); process.exit(7); }
  if (way === 'spin') { await sleep(300); for (;;); }
  if (way === 'memory') { await sleep(300); const all = []; for (;;) all.push(Buffer.alloc(1e6, 1)); }
  if (way === 'hang') await new Promise(() => setInterval(() => 0, 1_000));
  await sleep(Number(url.searchParams.get('ms') ?? given.ms ?? 0));
  return new Response('done');
} };`;

/** A victim that runs for longer than `act` takes, and what became of it. */
async function beside(act: () => Promise<unknown>, ms = 2_000): Promise<Response> {
  const victim = platform.call(`shared?ms=${ms}`);
  await sleep(150);
  await act().catch(() => undefined);
  return await victim;
}

const leave = (way: string, ms: number) => (): Promise<unknown> =>
  platform.call(`shared?way=${way}`, { signal: AbortSignal.timeout(ms) }).then((r) => r.text());

test('A4 B04 a caller who leaves does not end a neighbour, whether the code hears of it or not [CA34]', async () => {
  expect((await beside(leave('hang', 300))).status).toBe(200);
  expect((await beside(leave('none', 100))).status).toBe(200);
});

test('A4 B04 a timeout does not end a neighbour that began later [CA34]', async () => {
  const hanging = platform.call('shared?way=hang');
  await sleep(4_000);
  const victim = platform.call('shared?ms=2500');
  expect((await hanging).status).toBe(504);
  expect((await victim).status).toBe(200);
});

for (const [way, act] of Object.entries({ reject: /Error: stray/, exit: /process.exit\(7\)/ })) {
  test(`A4 B04 ${way} of one: the neighbour is told whose doing it was [CA35]`, async () => {
    let culprit: Response | undefined;
    const victim = await beside(async () => {
      culprit = await platform.call(`shared?way=${way}`);
    });
    const { report } = await platform.record(victim);
    expect(report?.outcome).toBe('ended_by_another');
    expect(report?.error?.message).toMatch(act);
    expect(report?.error?.message).toContain((await platform.record(culprit as Response)).id);
    expect((await platform.record(culprit as Response)).report?.outcome).toBe(
      way === 'exit' ? 'exited' : 'error',
    );
  });
}

for (const way of ['spin', 'memory']) {
  test(`A4 B04 ${way} of one: a neighbour is told that the end may be another's [CA35]`, async () => {
    const { report } = await platform.record(await beside(leave(way, 10_000), 6_000));
    expect(report?.outcome).toBe('ended_by_another');
    expect(report?.error?.message).toContain('invocations that ran in the sandbox');
  });
}

test('A4 B25 an error left behind by an ended invocation is not the next one’s [CA35]', async () => {
  await deploySource(
    platform,
    'leftover',
    `export default { async fetch(request) {
      if (new URL(request.url).pathname === '/slow') { await new Promise((r) => setTimeout(r, 800)); return new Response('slow'); }
      setTimeout(() => Promise.reject(new Error('mail refused')), 200);
      return new Response('ok');
    } };`,
  );
  const first = await platform.call('leftover');
  const { report } = await platform.record(await platform.call('leftover/slow'));
  expect(report).toMatchObject({ outcome: 'ended_by_another' });
  expect(report?.error?.message).toContain((await platform.record(first)).id);
  await untilLogged(platform, 'leftover', 'mail refused');
});

test('A4 a queued victim is tried again at once, without a count and never as poison [CA36]', async () => {
  const id = await platform.queue('shared', { ms: 2_500 });
  await sleep(500);
  for (let left = 2; left > 0; left--) {
    await platform.call('shared?way=exit');
    await sleep(300);
  }
  const record = await platform.ended(id);
  expect(record).toMatchObject({ outcome: 'ok' });
  expect(record.attempts?.some(({ outcome }) => outcome === 'ended_by_another')).toBe(true);
});
