/**
 * The request and response payloads that travel as the body of a lane frame: gateway and sandbox look into them, Redis
 * and the worker do not. No schema library here: this file is part of every sandbox.
 *
 *   bytes 0-3   length of the meta part, unsigned, little endian
 *   meta        JSON (RequestMeta or ResponseMeta)
 *   body        raw bytes
 */
import { callPath } from '../functions/function-path.ts';

/** Header names in lower case, in order, repeated ones repeated (`set-cookie`). */
export type HeaderList = [name: string, value: string][];

export interface RequestMeta {
  /**
   * `http`: an HTTP request. `event`: the body is one JSON value, handed to `handler(event)` as it is. `scheduled`: the body
   * is a ScheduledEvent, handed to `scheduled(event)` where the function has that. `batch`: the body is a BatchRequest, for
   * `queue(batch)`.
   */
  readonly kind: 'http' | 'event' | 'scheduled' | 'batch';
  readonly method: string;
  /** Absolute URL as the function sees it: the part before and including the function's name is taken off. */
  readonly url: string;
  readonly headers: HeaderList;
}

/** Of one JSON value that a function is given otherwise than by HTTP. A new one each time: its headers may be added to. */
export function jsonMeta(kind: 'event' | 'scheduled', namespace: string, name: string): RequestMeta {
  const url = `http://localhost${callPath(namespace, name)}`;
  return { kind, method: 'POST', url, headers: [['content-type', 'application/json']] };
}

/** What a function gets at a time of its schedule. */
export interface ScheduledEvent {
  readonly type: 'schedule';
  readonly cron: string;
  /** Unix time in milliseconds for which it was planned. */
  readonly scheduledTime: number;
  /** What offshoot.json says to give it. */
  readonly input: unknown;
}

/** Body of a payload of the kind `batch`: what `queue(batch)` is made of. */
export interface BatchRequest {
  readonly id: string;
  readonly items: readonly { readonly index: number; readonly tries: number; readonly body: unknown }[];
}

/** One line of the answer to it. Made by a sandbox, so hostile until the worker has checked it. */
export interface BatchAnswer {
  readonly index: number;
  readonly ok: boolean;
  readonly result?: unknown;
  readonly error?: { name: string; message: string; stack?: string };
  /** Seconds that the function wants to pass before it is tried again. */
  readonly delay?: number;
}

/** Header of the answer to a batch of a function that has no `queue()`; the worker then calls it for each item. */
export const NO_QUEUE_HANDLER = 'x-offshoot-no-queue-handler';

/** Made by a sandbox, so hostile until the gateway has checked it: status 200 to 599, legal header names and values. */
export interface ResponseMeta {
  readonly status: number;
  readonly headers: HeaderList;
}

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
