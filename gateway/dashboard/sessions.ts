/**
 * Who is signed in to the dashboard.
 *
 * A session is a cookie with 256 random bits. Redis has the sha256 of it, the sha256 of the API key that it stands for, and a
 * page secret: who reads Redis cannot sign in, and a key that is deleted ends its sessions at once.
 *
 * The cookie alone opens nothing. Functions are served from the same origin, so a page of a function may send requests to
 * the dashboard, and the browser adds the cookie to them. What it cannot do is read a document of the dashboard: that is given
 * its page secret only when the browser says (Fetch Metadata) that it is to be shown as a page of its own, which no script
 * can make it say; it may not be framed; and its opener is cut off (Cross-Origin-Opener-Policy). Each request for data brings
 * the secret along, so it comes from such a page.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { keys, SESSION_TTL_S } from '#contract/platform/keys.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { hashOfKey, type ApiKeyStore } from '../functions/api-keys.ts';

export const SESSION_COOKIE = 'offshoot_session';
/** Where the browser sends the cookie: not to functions, and not to the API as others call it. */
export const COOKIE_PATH = '/dashboard';

const Stored = z.object({ keyHash: z.string(), page: z.string() });

export interface Session {
  readonly holder: ApiKeyRecord;
  readonly page: string;
  /** Names the session without being it. */
  readonly hash: string;
}

export class Sessions {
  readonly #redis: Redis;
  readonly #apiKeys: ApiKeyStore;

  constructor(redis: Redis, apiKeys: ApiKeyStore) {
    this.#redis = redis;
    this.#apiKeys = apiKeys;
  }

  /** The value of the cookie. Throws `unauthorized` for a key that is not known, `forbidden` for one that may not read. */
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

  /** The session of a cookie, as long as it and its key are there. */
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
