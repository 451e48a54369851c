/** A namespace without functions has nothing warm; with its first function it has again. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WorkerStatus } from '#contract/api/api.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_PREPARED: '2' });
}, 60_000);
afterAll(() => platform.stop());

/** Launchers of this platform's worker, each with its zygote. */
function launchers(): number {
  const parent = `\nPPid:\t${platform.pid('worker')}\n`;
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/status`, 'utf8').includes(parent);
    } catch {
      return false;
    }
  }).length;
}

/** Sandboxes by namespace: those that are prepared, or of a function. */
async function sandboxes(): Promise<Record<string, number>> {
  const { workers } = (await (await platform.api('/workers')).json()) as { workers: WorkerStatus[] };
  const found: Record<string, number> = {};
  for (const { namespace, prepared, idle, busy } of workers.flatMap(({ pools = [] }) => pools))
    found[namespace] = (found[namespace] ?? 0) + prepared + idle + busy;
  return found;
}

async function remove(namespace: string, name: string): Promise<void> {
  expect((await platform.api(`/functions/${namespace}/${name}`, { method: 'DELETE' })).status).toBe(204);
}

const call = (path: string): Promise<Response> => fetch(`${platform.url}/fn/${path}`);

test('zygote and prepared sandboxes of a namespace end with its last function, once its runs have ended [LI7]', async () => {
  await platform.deploy('hello-fetch', {}, 'one');
  await platform.deploy('hello-fetch', {}, 'two');
  await platform.deploy('faulty', { timeout: 10 }, 'two');
  await expect.poll(sandboxes, { timeout: 10_000 }).toEqual({ one: 3, two: 4 });
  expect(launchers()).toBe(2);
  await remove('one', 'hello-fetch');
  await remove('two', 'hello-fetch');
  await expect.poll(sandboxes, { timeout: 5_000 }).toEqual({ two: 3 });
  await expect.poll(launchers, { timeout: 5_000 }).toBe(1);
  const running = call('two/faulty/sleep?ms=3000');
  await expect
    .poll(async () => (await (await platform.api('/invocations?state=running')).text()).includes('"two"'))
    .toBe(true);
  await remove('two', 'faulty');
  await expect.poll(sandboxes, { timeout: 5_000 }).toEqual({});
  expect((await running).status).toBe(200);
  await expect.poll(launchers, { timeout: 5_000 }).toBe(0);
}, 40_000);

test('a function that is deployed to an emptied namespace runs, and the namespace is warm again', async () => {
  await platform.deploy('hello-fetch', {}, 'one');
  expect((await call('one/hello-fetch')).status).toBe(200);
  await expect.poll(sandboxes, { timeout: 10_000 }).toEqual({ one: 3 });
  expect(launchers()).toBe(1);
}, 30_000);

test('a worker that starts prepares nothing for namespaces without functions', async () => {
  await platform.kill('worker', 'SIGTERM');
  platform.run('worker');
  await platform.ready();
  // Sandboxes for "two" would have been prepared together with these.
  await expect.poll(sandboxes, { timeout: 10_000 }).toEqual({ one: 2 });
  await platform.deploy('hello-fetch', { name: 'late' }, 'one');
  await expect.poll(sandboxes, { timeout: 10_000 }).toEqual({ one: 3 });
  expect(launchers()).toBe(1);
}, 30_000);
