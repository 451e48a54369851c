/**
 * Keeps versions that something refers to beside the record of their function: queued invocations, dead letters, batches, and calls
 * under way. Each reference says until when it may need its version, and a version keeps the latest of these times. So a reference
 * is one write, an end needs none, and a process that dies leaves nothing to clear up.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { Script } from '../redis/script.ts';

/** A version, as a record of an invocation or batch names it. */
export interface VersionName {
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
}

/** KEYS: versions; times. ARGV: version, time. Returns 0 when there is no such version. */
const KEEP = new Script(`
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], 'GT', ARGV[2], ARGV[1])
return 1`);

/**
 * Keeps a version at least until a Unix time in milliseconds. False: there is no such version (any more). `redis`: a connection of
 * the role `commands`.
 */
export async function keepVersion(
  redis: Redis,
  { namespace, name, version }: VersionName,
  until: number,
): Promise<boolean> {
  const touched = [keys.versions(namespace, name), keys.keptVersions(namespace, name)];
  return (await KEEP.run(redis, touched, [version, until])) === 1;
}
