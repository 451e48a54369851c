/** Password hashing by a native addon (argon2 in Rust), which stays a file beside the bundle. */
import { hash, verify } from '@node-rs/argon2';

/** OWASP's lowest advice for argon2id; the defaults of the package are the same, but may change. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

export default {
  async fetch(request) {
    if (request.method !== 'POST')
      return Response.json({ error: 'POST {"password", "hash"?}' }, { status: 405 });
    const input: unknown = await request.json();
    if (!isInput(input)) return Response.json({ error: 'password must be a string' }, { status: 400 });
    if (input.hash === undefined) return Response.json({ hash: await hash(input.password, COST) });
    return Response.json({ matches: await verify(input.hash, input.password) });
  },
} satisfies OffshootFunction;

function isInput(value: unknown): value is { password: string; hash?: string } {
  return (
    typeof value === 'object' && value !== null && 'password' in value && typeof value.password === 'string'
  );
}
