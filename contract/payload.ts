/**
 * The request and response payloads that travel as the body of a lane frame: gateway and sandbox look into them, Redis
 * and the worker do not.
 *
 *   bytes 0-3   length of the meta part, unsigned, little endian
 *   meta        JSON (RequestMeta or ResponseMeta)
 *   body        raw bytes
 */
import { z } from 'zod';

/** Header names in lower case, in order, repeated ones repeated (`set-cookie`). */
const HeaderList = z.array(z.tuple([z.string(), z.string()]));

export const RequestMeta = z.object({
  /** `http`: an HTTP request. `event`: the body is one JSON value, handed to `handler(event)` as it is. */
  kind: z.enum(['http', 'event']),
  method: z.string(),
  /** Absolute URL as the function sees it: the part before and including the function's name is taken off. */
  url: z.string(),
  headers: HeaderList,
});
export type RequestMeta = z.infer<typeof RequestMeta>;

export const ResponseMeta = z.object({
  status: z.int().min(200).max(599),
  headers: HeaderList,
});
export type ResponseMeta = z.infer<typeof ResponseMeta>;

const PREFIX_BYTES = 4;

export function encodePayload(meta: RequestMeta | ResponseMeta, body: Uint8Array): Buffer {
  const json = Buffer.from(JSON.stringify(meta));
  const prefix = Buffer.allocUnsafe(PREFIX_BYTES);
  prefix.writeUInt32LE(json.length, 0);
  return Buffer.concat([prefix, json, body]);
}

/** Splits a payload; `meta` is untrusted JSON until its schema has checked it. Throws when the lengths do not add up. */
export function decodePayload(payload: Buffer): { meta: unknown; body: Buffer } {
  if (payload.length < PREFIX_BYTES) throw new Error(`payload: ${payload.length} bytes are too few`);
  const metaEnd = PREFIX_BYTES + payload.readUInt32LE(0);
  if (metaEnd > payload.length)
    throw new Error(`payload: meta ends at ${metaEnd} of ${payload.length} bytes`);
  return {
    meta: JSON.parse(payload.toString('utf8', PREFIX_BYTES, metaEnd)),
    body: payload.subarray(metaEnd),
  };
}
