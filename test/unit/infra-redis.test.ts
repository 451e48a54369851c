import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ask, startRedis } from '../../infra/redis.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'redis-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('the embedded Redis is private, keeps everything, and refuses a second one on its data', async () => {
  const redis = await startRedis({ dir });
  try {
    const path = new URL(redis.url).pathname;
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect(await ask({ path }, ['CONFIG', 'GET', 'maxmemory-policy'])).toContain('noeviction');
    expect(await ask({ path }, ['CONFIG', 'GET', 'appendonly'])).toContain('yes');
    await expect(startRedis({ dir, socket: join(dir, 'second.sock') })).rejects.toThrow(
      /another Redis already runs/,
    );
    await ask({ path }, ['SET', 'kept', 'word']);
    expect(await redis.stop()).toEqual({ code: 0, signal: null });
    const again = await startRedis({ dir });
    expect(await ask({ path }, ['GET', 'kept'])).toBe('$4\r\nword\r\n');
    await again.stop();
  } finally {
    await redis.stop();
  }
});

test('a Redis that cannot start says its last words', async () => {
  const socket = join(dir, 'no-such-directory/redis.sock');
  await expect(startRedis({ dir, socket })).rejects.toThrow(/did not start[^]*Last|last lines[^]*socket/i);
});
