/**
 * Changes of a function's record in Redis. Each compares the record with the text that was read. So of two changes at once, the
 * second one reads anew.
 */
import type { Redis } from 'ioredis';
import type { z } from 'zod';
import { OffshootError } from '#contract/api/errors.ts';
import { FunctionRecord, reachableVersions } from '#contract/functions/records.ts';
import { keys } from '#contract/platform/keys.ts';
import { sharedNow } from '../redis/clock.ts';
import { Script } from '../redis/script.ts';

/**
 * Writes a record that leads to a version. The version that was active before stays until a time, for the calls under way to it.
 *
 *   KEYS  functions; versions; times of kept versions
 *   ARGV  name, record as read, new record, its version, version before, time until which that stays
 *
 * The record as read and the version before are empty for a new function. Guarantee: a record never leads to a missing version.
 * Returns 1: done; 0: there is no such version; -1: the record has changed since it was read.
 */
const LEAD = new Script(`
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return -1 end
if redis.call('HEXISTS', KEYS[2], ARGV[4]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[5] ~= '' then redis.call('ZADD', KEYS[3], 'GT', ARGV[6], ARGV[5]) end
return 1`);

/**
 * Removes versions, except those that stay for something that refers to them.
 *
 *   KEYS  functions; versions; times of kept versions
 *   ARGV  name, record as read, time now, versions
 *
 * Returns -1: the record has changed since it was read, and may lead to one of them.
 */
const DISCARD = new Script(`
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return -1 end
for i = 4, #ARGV do
  local time = redis.call('ZSCORE', KEYS[3], ARGV[i])
  if not time or tonumber(time) <= tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[3], ARGV[i])
  end
end
return 1`);

/** A record, and its text for a comparison; the text is empty where there is no record. Throws `function_outdated`. */
export async function readRecord(
  redis: Redis,
  namespace: string,
  name: string,
): Promise<{ raw: string; record?: FunctionRecord }> {
  const raw = await redis.hget(keys.functions(namespace), name);
  return raw === null ? { raw: '' } : { raw, record: parsed(FunctionRecord, raw, namespace, name) };
}

/**
 * Changes the record of a function. `change`: makes the new record, or names the reason why there is none. `underWayMs`: time for
 * which calls may be under way to the version before. `absent`: the version of the new record does not exist.
 */
export async function changeRecord<R extends string>(
  redis: Redis,
  { namespace, name }: Pick<FunctionRecord, 'namespace' | 'name'>,
  underWayMs: number,
  change: (before: FunctionRecord | undefined) => FunctionRecord | R,
): Promise<'done' | 'absent' | R> {
  for (;;) {
    const { raw, record: before } = await readRecord(redis, namespace, name);
    const after = change(before);
    if (typeof after === 'string') return after;
    const values = [name, raw, JSON.stringify(after), after.activeVersion];
    values.push(before?.activeVersion ?? '', sharedNow() + underWayMs);
    const done = await LEAD.run(redis, touchedBy(namespace, name), values);
    if (done !== -1) return done === 1 ? 'done' : 'absent';
  }
}

/** Removes versions that nothing refers to. `choose`: picks from the numbers of all versions. */
export async function discardVersions(
  redis: Redis,
  { namespace, name }: Pick<FunctionRecord, 'namespace' | 'name'>,
  choose: (versions: readonly number[]) => readonly number[],
): Promise<void> {
  for (;;) {
    const { raw, record } = await readRecord(redis, namespace, name);
    const all = await redis.hkeys(keys.versions(namespace, name));
    const reachable = new Set(record && reachableVersions(record));
    const chosen = choose(all.map(Number)).filter((version) => !reachable.has(version));
    if (chosen.length === 0) return;
    const values = [name, raw, sharedNow(), ...chosen];
    if ((await DISCARD.run(redis, touchedBy(namespace, name), values)) !== -1) return;
  }
}

function touchedBy(namespace: string, name: string): string[] {
  return [keys.functions(namespace), keys.versions(namespace, name), keys.keptVersions(namespace, name)];
}

/** Nothing converts a record of an older form, because its function can be deployed again. */
export function parsed<T>(schema: z.ZodType<T>, stored: string, namespace: string, name: string): T {
  const found = schema.safeParse(JSON.parse(stored));
  if (found.success) return found.data;
  throw new OffshootError(
    'function_outdated',
    `Redis holds the function "${namespace}/${name}" in a form that this version of Offshoot does not read; type: offshoot rm ${namespace}/${name}`,
    { cause: found.error },
  );
}
