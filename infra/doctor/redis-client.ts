/**
 * Redis behind TLS, Sentinels or a Cluster, where a bare PING proves nothing: the check uses the platform's own client.
 */
import { type Check, miss, pass, type Subject } from './check.ts';

const PATIENCE_MS = 3_000;

/** Whether the address needs that client. */
export function needsClient(url: string): boolean {
  return /^rediss(:|\+)|^redis\+/.test(url);
}

export async function checkByClient(subject: Subject, url: string): Promise<Check> {
  // Imported only now: the doctor also runs where no npm package is installed yet.
  const { connectRedis, keepsEverything } = await import('#storage/redis/redis.ts');
  let last = 'no answer within three seconds';
  const onError = (facts: object): void => {
    if ('error' in facts) last = String(facts.error);
  };
  const log = { info: () => undefined, warn: () => undefined, error: onError };
  let redis: ReturnType<typeof connectRedis>;
  try {
    redis = connectRedis(url, 'commands', log);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return miss(subject, reason, 'the platform cannot tell where its Redis is', 'unset REDIS_URL');
  }
  try {
    const ready = new Promise<boolean>((resolve) => {
      redis.once('ready', () => resolve(true));
      setTimeout(resolve, PATIENCE_MS, false);
    });
    if (!(await ready)) {
      const cause = 'the Redis at REDIS_URL cannot be used';
      return miss(subject, last, cause, 'start that Redis, or unset REDIS_URL to use a private one');
    }
    const keeps = await keepsEverything(redis).catch(() => undefined);
    if (keeps !== false) return pass(subject, 'answers');
    const cause = 'when its memory is full, this Redis would drop queued work in silence';
    const fix = 'redis-cli CONFIG SET maxmemory-policy noeviction, on each primary';
    return miss(subject, 'maxmemory-policy is not noeviction', cause, fix);
  } finally {
    redis.disconnect();
  }
}
