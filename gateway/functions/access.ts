/** Finds the API key of a request, and checks its permissions. */
import type { ApiKeyRecord, Scope } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { allows, API_KEY_PREFIX } from './api-keys.ts';

const BEARER = /^Bearer +(\S+) *$/i;

export interface PresentedKey {
  readonly key: string;
  readonly header: 'authorization' | 'x-api-key';
}

/**
 * The platform's key in a request, if any. `x-api-key` comes first: with it a caller keeps `authorization` for the
 * function's own use. A bearer token that is no key of the platform is ignored.
 */
export function presentedKey(headers: {
  authorization?: string | undefined;
  'x-api-key'?: string | string[] | undefined;
}): PresentedKey | undefined {
  const apiKey = headers['x-api-key'];
  if (typeof apiKey === 'string' && looksLikeKey(apiKey)) return { key: apiKey, header: 'x-api-key' };
  const bearer = headers.authorization === undefined ? undefined : BEARER.exec(headers.authorization)?.[1];
  if (bearer !== undefined && looksLikeKey(bearer)) return { key: bearer, header: 'authorization' };
  return undefined;
}

/** Upper bound on the length of a key. Longer ones are not the platform's, and are not worth caching as unknown. */
const MAX_KEY_LENGTH = 128;

function looksLikeKey(text: string): boolean {
  return text.startsWith(API_KEY_PREFIX) && text.length <= MAX_KEY_LENGTH;
}

/** Throws `unauthorized` without a valid key, `forbidden` when it does not carry the scope in the namespace. */
export function demand(
  record: ApiKeyRecord | undefined,
  presented: PresentedKey | undefined,
  scope: Scope,
  namespace: string,
): asserts record is ApiKeyRecord {
  if (!record) {
    throw new OffshootError(
      'unauthorized',
      presented
        ? 'this API key is not known; it may have been deleted'
        : 'this needs an API key: send it as "Authorization: Bearer KEY" or "x-api-key: KEY"',
    );
  }
  if (allows(record, scope, namespace)) return;
  const where =
    record.namespace === namespace || record.namespace === '*' ? '' : ` in the namespace "${namespace}"`;
  throw new OffshootError(
    'forbidden',
    `this needs a key with the scope "${scope}"${where}; yours holds for "${record.namespace}" with ${record.scopes.join(', ')}`,
  );
}
