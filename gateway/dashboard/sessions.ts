/**
 * Keeps the sessions of the dashboard, and checks that each request for data comes from a page of a session.
 *
 * A session is a cookie with 256 random bits. Redis has the sha256 of the cookie, the sha256 of the API key that it stands for,
 * and a page secret. So a reader of Redis cannot sign in, and deleting a key ends its sessions at once.
 *
 * The cookie alone opens nothing. Functions are served from the same origin, so a function's page may send requests to the
 * dashboard, to which the browser adds the cookie. But a function's page cannot read a document of the dashboard. A document
 * gets its page secret only when the browser says (Fetch Metadata) that it shows the document as a page of its own. No script
 * can forge that. The document may not be framed, and its opener is cut off (Cross-Origin-Opener-Policy). Each request for
 * data carries the secret, so it comes from such a page.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { keys, SESSION_TTL_S } from '#contract/platform/keys.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { hashOfKey, type ApiKeyStore } from '../functions/api-keys.ts';

export const SESSION_COOKIE = 'offshoot_session';
/** Path to which the browser sends the cookie: neither to functions, nor to the API as other clients call it. */
export const COOKIE_PATH = '/dashboard';

const Stored = z.object({ keyHash: z.string(), page: z.string() });

export interface Session {
  readonly holder: ApiKeyRecord;
  readonly page: string;
  /** Identifies the session, but does not open it. */
  readonly hash: string;
}

export class Sessions {
  readonly #redis: Redis;
  readonly #apiKeys: ApiKeyStore;

  constructor(redis: Redis, apiKeys: ApiKeyStore) {
    this.#redis = redis;
    this.#apiKeys = apiKeys;
  }

  /** Makes a session and returns its cookie. Throws `unauthorized` for an unknown key, `forbidden` if the key may not read. */
  async begin(key: string): Promise<string> {
    const keyHash = hashOfKey(key);
    const holder = await this.#apiKeys.findByHash(keyHash);
    if (!holder)
      throw new OffshootError('unauthorized', 'this API key is not known; it may have been deleted');
    if (!holder.scopes.includes('read')) {
      throw new OffshootError('forbidden', 'the dashboard needs a key with the scope "read"');
    }
    const token = random();
    const value = JSON.stringify({ keyHash, page: random() } satisfies z.infer<typeof Stored>);
    await this.#redis.set(keys.session(sha256(token)), value, 'EX', SESSION_TTL_S);
    return token;
  }

  /** The session of a cookie, while session and key exist. */
  async find(token: string | undefined): Promise<Session | undefined> {
    if (token === undefined || token.length > 64) return undefined;
    const hash = sha256(token);
    const stored = await this.#redis.get(keys.session(hash));
    if (stored === null) return undefined;
    const { keyHash, page } = Stored.parse(JSON.parse(stored));
    const holder = await this.#apiKeys.findByHash(keyHash);
    return holder && { holder, page, hash };
  }

  /** The session of a request for data. Throws `unauthorized` when there is none, `forbidden` without its page secret. */
  async demand(token: string | undefined, page: string | undefined): Promise<Session> {
    const session = await this.find(token);
    if (!session) throw new OffshootError('unauthorized', 'you are not signed in, or were signed out');
    if (page === undefined || !equal(page, session.page)) {
      throw new OffshootError('forbidden', 'this request does not come from a page of the dashboard');
    }
    return session;
  }

  async end(session: Session): Promise<void> {
    await this.#redis.del(keys.session(session.hash));
  }
}

function random(): string {
  return randomBytes(32).toString('base64url');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function equal(given: string, wanted: string): boolean {
  return timingSafeEqual(Buffer.from(sha256(given)), Buffer.from(sha256(wanted)));
}
