import { appendFile, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ask, startRedis } from '../../../infra/platform/redis.ts';

const SLOW_COMMANDS = 100_000;
/** Less than the slow file takes to load. */
const SILENCE_MS = 1_500;

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

test('a Redis that cannot start fails with its last output', async () => {
  const socket = join(dir, 'no-such-directory/redis.sock');
  await expect(startRedis({ dir, socket })).rejects.toThrow(/did not start[^]*Last|last lines[^]*socket/i);
});

/**
 * Adds what takes seconds to load to the append-only file: commands that each count to a number. Redis answers after each
 * thousand of them, so each is short.
 */
async function makeSlowToLoad(): Promise<void> {
  const folder = join(dir, 'appendonlydir');
  const file = (await readdir(folder)).find((name) => name.endsWith('.incr.aof')) ?? '';
  const words = ['EVAL', "for i = 1, 5e3 do end redis.call('INCR', 'loaded')", '0'];
  const command = `*3\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;
  await appendFile(join(folder, file), command.repeat(SLOW_COMMANDS));
}

describe('a file that takes long to load', () => {
  beforeEach(async () => {
    const first = await startRedis({ dir });
    await ask({ path: new URL(first.url).pathname }, ['SET', 'kept', 'word']);
    await first.stop();
    await makeSlowToLoad();
  });

  test('a start waits for a file that takes long to load, and says so', async () => {
    const parts: string[] = [];
    const begun = performance.now();
    const redis = await startRedis({ dir, silenceMs: SILENCE_MS, onLoading: (part) => parts.push(part) });
    expect(performance.now() - begun).toBeGreaterThan(SILENCE_MS);
    const path = new URL(redis.url).pathname;
    expect(await ask({ path }, ['GET', 'loaded'])).toContain(String(SLOW_COMMANDS));
    expect(parts[0]).toMatch(/^\d+\.\d+%$/);
    await redis.stop();
  });

  test('a start that is asked to stop does not wait for a file that takes long to load', async () => {
    const stopping = new AbortController();
    const start = startRedis({ dir, signal: stopping.signal, onLoading: () => stopping.abort() });
    await expect(start).rejects.toThrow(/aborted/);
    // Its lock is free again, so it has ended.
    const again = new AbortController();
    await expect(startRedis({ dir, signal: again.signal, onLoading: () => again.abort() })).rejects.toThrow(
      /aborted/,
    );
  });
});
