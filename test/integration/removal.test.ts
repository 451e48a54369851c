/** What is left of a function that is removed: nothing that runs, and nothing that is kept for it. */
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sandboxCgroups } from '../support/cgroup-paths.ts';
import { Platform } from '../support/platform.ts';

let platform: Platform;
beforeAll(async () => {
  // None is prepared: each sandbox that there is is one of a function.
  platform = await Platform.start({ OFFSHOOT_PREPARED: '0' });
}, 60_000);
afterAll(() => platform.stop());

function sandboxes(): string[] {
  return readdirSync(sandboxCgroups()).filter((name) => name.startsWith(`${platform.pid('worker')}-`));
}

async function remove(name: string): Promise<void> {
  expect((await platform.api(`/functions/default/${name}`, { method: 'DELETE' })).status).toBe(204);
}

test('a function that is removed answers no more, and its sandboxes end', async () => {
  await platform.deploy('hello-fetch', { name: 'short-lived' });
  const { report } = await platform.record(await platform.call('short-lived'));
  expect(sandboxes().some((name) => name.endsWith(report?.sandbox ?? '?'))).toBe(true);
  expect((await platform.cli('rm', 'short-lived', '--yes')).code).toBe(0);
  expect((await platform.call('short-lived')).status).toBe(404);
  await expect.poll(sandboxes, { timeout: 5_000 }).toEqual([]);
});

test('a sandbox that is being started for it ends as well', async () => {
  const manifest = { name: 'slow-load', isolation: { mode: 'request' }, env: { LOAD_MS: '1500' } };
  await platform.deploy('faulty', manifest);
  const { report } = await platform.record(await platform.call('slow-load/ok'));
  // The next one is loaded before anybody asks for it.
  const next = (): boolean => sandboxes().some((name) => !name.endsWith(report?.sandbox ?? '?'));
  await expect.poll(next, { timeout: 5_000 }).toBe(true);
  await remove('slow-load');
  await expect.poll(sandboxes, { timeout: 5_000 }).toEqual([]);
});
