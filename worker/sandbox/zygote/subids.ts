/**
 * Finds the ranges of subordinate ids granted to this user in /etc/subuid and /etc/subgid, subuid(5). Sandboxes get their user
 * ids from these.
 */
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { FIRST_SANDBOX_UID, MAX_SLOTS } from '#contract/wire/control.ts';

/** Ids of a range that a worker maps; those below FIRST_SANDBOX_UID stay unused. The set-up asks for as many. */
export const SUBIDS_USED = FIRST_SANDBOX_UID + MAX_SLOTS + 1;

export interface IdRange {
  readonly base: number;
  readonly count: number;
}

/** Returns the largest range in `text` (lines of `name:base:count`) that belongs to the user of this name or number. */
export function findRange(text: string, name: string, id: number): IdRange | undefined {
  let best: IdRange | undefined;
  for (const line of text.split('\n')) {
    const [owner, base, count] = line.split(':');
    if (owner !== name && owner !== String(id)) continue;
    const range = { base: Number(base), count: Number(count) };
    if (Number.isInteger(range.base) && range.count > (best?.count ?? 0)) best = range;
  }
  return best;
}

/** Returns this user's ranges. Throws, with the command that makes them, when a range is too small for a sandbox. */
export function ownRanges(): { uid: IdRange; gid: IdRange } {
  const { username, uid } = userInfo();
  const range = (file: string): IdRange => {
    const found = findRange(readFileSync(file, 'utf8'), username, uid);
    if (!found || found.count <= FIRST_SANDBOX_UID + 1) {
      throw new Error(`user ${username} has no range of subordinate ids in ${file}; run: npm run setup`);
    }
    return { base: found.base, count: Math.min(found.count, SUBIDS_USED) };
  };
  return { uid: range('/etc/subuid'), gid: range('/etc/subgid') };
}
