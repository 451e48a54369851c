/** Signs deliveries by the Standard Webhooks specification, version 1.0.0: HMAC-SHA256 over `id.timestamp.body`. */
import { createHmac, randomBytes } from 'node:crypto';

const PREFIX = 'whsec_';
/** Length of a secret; the specification asks for 24 to 64 bytes. */
const SECRET_BYTES = 32;

/** A new secret, in the form that receivers get. */
export function newSecret(): string {
  return PREFIX + randomBytes(SECRET_BYTES).toString('base64');
}

/**
 * The headers of one attempt. `id` stays the same over the attempts of a delivery. `seconds` is the Unix time of this attempt,
 * by which a receiver can refuse a later copy. There is a signature for each secret, so that receivers can change to a new one.
 */
export function signatureHeaders(
  id: string,
  seconds: number,
  body: Uint8Array,
  secrets: readonly string[],
): Record<string, string> {
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.slice(PREFIX.length), 'base64');
    return `v1,${createHmac('sha256', key).update(`${id}.${seconds}.`).update(body).digest('base64')}`;
  });
  return {
    'webhook-id': id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': signatures.join(' '),
  };
}
