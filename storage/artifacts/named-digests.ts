/** Lists the archives that are needed: those of all versions that functions keep, the active ones among them. */
import type { Redis } from 'ioredis';
import { VersionRecord } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';

const Named = VersionRecord.pick({ digest: true });

/**
 * The digests of all archives that a version of any function names. The first version of a function that is just being loaded
 * is not among them yet. Throws when a record cannot be read, because its archive must not count as unneeded.
 */
export async function namedDigests(redis: Redis): Promise<Set<string>> {
  const digests = new Set<string>();
  for (const namespace of await redis.smembers(keys.namespaces()))
    for (const name of await redis.hkeys(keys.functions(namespace)))
      for (const stored of await redis.hvals(keys.versions(namespace, name)))
        digests.add(Named.parse(JSON.parse(stored)).digest);
  return digests;
}
