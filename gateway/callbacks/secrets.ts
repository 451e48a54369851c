/** Keeps in Redis the secrets of each namespace, with which its deliveries are signed. */
import type { Redis } from 'ioredis';
import { CallbackSecret, type CallbackSecrets } from '#contract/invocations/callback.ts';
import { keys } from '#contract/platform/keys.ts';
import { newSecret } from './signature.ts';

/** Time after a rotation during which deliveries are signed with the old secret too, until receivers have the new one. */
const OVERLAP_MS = 24 * 3_600_000;
/** Upper bound on the secrets of a namespace. Older ones are dropped, so that frequent rotation does not slow deliveries. */
const MAX_SECRETS = 4;

/** Makes the first secret of a namespace. Two simultaneous calls get the same secret. */
const ENSURE = `
if redis.call('LLEN', KEYS[1]) == 0 then redis.call('LPUSH', KEYS[1], ARGV[1]) end
return redis.call('LRANGE', KEYS[1], 0, -1)`;

const ROTATE = `
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, ARGV[2])
return redis.call('LRANGE', KEYS[1], 0, -1)`;

export class SecretStore {
  readonly #redis: Redis;

  /** `redis`: a connection of the role `commands`. */
  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** The secrets of a namespace, made now if there are none. */
  async of(namespace: string): Promise<CallbackSecrets> {
    const key = keys.callbackSecrets(namespace);
    let stored = await this.#redis.lrange(key, 0, -1);
    if (stored.length === 0) stored = (await this.#redis.eval(ENSURE, 1, key, made())) as string[];
    return view(namespace, stored);
  }

  /** Makes a new secret. Deliveries are signed with the previous one as well, for a day. */
  async rotate(namespace: string): Promise<CallbackSecrets> {
    const key = keys.callbackSecrets(namespace);
    const stored = await this.#redis.eval(ROTATE, 1, key, made(), MAX_SECRETS - 1);
    return view(namespace, stored as string[]);
  }
}

function made(): string {
  const secret: CallbackSecret = { secret: newSecret(), createdAt: Date.now() };
  return JSON.stringify(secret);
}

function view(namespace: string, stored: readonly string[]): CallbackSecrets {
  const [current, ...older] = stored.map((one) => CallbackSecret.parse(JSON.parse(one)));
  if (!current) throw new Error(`the namespace "${namespace}" has no secret though one was made`);
  const now = Date.now();
  let replacedAt = current.createdAt;
  const previous: CallbackSecrets['previous'] = [];
  for (const one of older) {
    const until = replacedAt + OVERLAP_MS;
    if (until > now) previous.push({ ...one, until });
    replacedAt = one.createdAt;
  }
  return { namespace, current, previous };
}
