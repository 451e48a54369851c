/**
 * A function that prints without end, called without end: Redis keeps a bounded part, and the gateway's answer is
 * bounded.
 */
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { keys } from '#contract/platform/keys.ts';
import { LOG_STREAM_BYTES } from '#contract/functions/limits.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { Platform } from '../../support/platform/platform.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';

const MB = 1024 * 1024;
let platform: Platform;

beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_KEPT_LOG_MB: '2' });
  await platform.deploy('faulty', { logSize: 1_024 });
}, 60_000 * SLOWNESS);
afterAll(() => platform?.stop());

test(
  'the newest logs of a function are kept up to its byte limit, and lost ones are reported [OB30]',
  async () => {
    const redis = connectRedis(platform.redis.url, 'background', pino({ level: 'silent' }));
    const memory = async (pattern: string): Promise<number> => {
      const found = await redis.keys(pattern);
      const sizes = await Promise.all(found.map((key) => redis.memory('USAGE', key, 'SAMPLES', 0)));
      return sizes.reduce<number>((total, size) => total + (size ?? 0), 0);
    };
    const first = await platform.record(await platform.call('faulty/print-long?lines=100'));
    expect(first.logs.length).toBeGreaterThan(60);
    let last = first;
    for (let call = 0; call < 12; call++) {
      last = await platform.record(await platform.call('faulty/print-long?lines=100'));
    }
    await vi.waitFor(async () => expect(await memory(keys.logs('*'))).toBeLessThan(2.5 * MB), {
      timeout: 10_000 * SLOWNESS,
      interval: 100,
    });
    const stream = await memory(keys.logStream('default', 'faulty'));
    expect(stream).toBeGreaterThan(MB);
    expect(stream).toBeLessThan(LOG_STREAM_BYTES + 2 * MB);
    expect((await platform.record(await platform.call('faulty/ok'))).outcome).toBe('ok');
    const { stdout } = await platform.cli('trace', last.id);
    expect(stdout).toContain('z'.repeat(1_000));
    const gone = await platform.cli('trace', first.id);
    expect(gone.stdout).toContain('bytes is no longer kept: the log of its function is bounded');
    redis.disconnect();
  },
  60_000 * SLOWNESS,
);
