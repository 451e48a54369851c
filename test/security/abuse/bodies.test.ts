/**
 * Functions that lie about the large body of their request, or never read it: the worker loses neither memory nor
 * descriptors.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { deployAttack } from './platform.ts';

const MB = 1024 * 1024;
const BODY = new Uint8Array(64 * MB);

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await deployAttack(platform, 'body-frames', { timeout: 3 });
  await platform.call('body-frames/', { method: 'POST', body: BODY });
}, 60_000);
afterAll(() => platform.stop());

async function worker(): Promise<{ blobs: number; memory: number }> {
  const folder = `/proc/${platform.pid('worker')}`;
  const fds = await readdir(join(folder, 'fd'));
  const open = await Promise.all(fds.map((fd) => readlink(join(folder, 'fd', fd)).catch(() => '')));
  const status = await readFile(join(folder, 'status'), 'utf8');
  return {
    blobs: open.filter((path) => path.includes('/blobs/')).length,
    memory: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024,
  };
}

test.each([
  ['credit for more than was sent', 'more', 'crashed'],
  ['credit for nothing', 'nothing', 'crashed'],
  ['credit for bytes that it has not read', 'greedy', 'crashed'],
  ['a body that it never reads', 'hold', 'timeout'],
])(
  'a sandbox that sends or keeps %s ends, and leaves nothing [CA12]',
  async (_, path, outcome) => {
    const before = await worker();
    let most = 0;
    const looking = setInterval(
      () => void worker().then(({ memory }) => (most = Math.max(most, memory))),
      50,
    );
    const response = await platform.call(`body-frames/${path}`, { method: 'POST', body: BODY });
    clearInterval(looking);
    expect(response.headers.get('x-offshoot-outcome')).toBe(outcome);
    expect(most - before.memory).toBeLessThan(32 * MB);
    await expect.poll(async () => (await worker()).blobs, { timeout: 5_000 }).toBe(0);
    await expect
      .poll(() => readdir(join(platform.state, 'blobs/calls')).catch(() => []), { timeout: 5_000 })
      .toEqual([]);
    const honest = await platform.call('body-frames/', { method: 'POST', body: BODY });
    expect(await honest.text()).toBe('honest');
  },
  30_000,
);
