/** Names of namespaces, functions and environment variables: the legal ones, and the nearest legal one to a typo. */
import { z } from 'zod';

/**
 * A DNS label (RFC 1123): lower-case letters, digits and hyphens, at most 63 of them. Names appear in URLs, Redis keys, host
 * names and directories; this alphabet is safe in all four.
 */
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Message for a refused name. */
export const NAME_RULE =
  'use lower-case letters, digits and hyphens (1 to 63 of them), starting and ending with a letter or digit';

export const Name = z.string().regex(LABEL, NAME_RULE);

/** Namespace of a fresh installation, so that a first deploy needs no decision. */
export const DEFAULT_NAMESPACE = 'default';

/** Stands for all namespaces in a key and in the announcement of a change; no name of a namespace contains it. */
export const EVERY_NAMESPACE = '*';

/**
 * The candidate with the fewest edits from `wanted`, or undefined if none is close enough to be a likely typo. Levenshtein
 * distance, cut off at a third of the length (at least 2).
 */
export function nearestName(wanted: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - wanted.length) >= bestDistance) continue;
    const distance = editDistance(wanted, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min((previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, substitution));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
