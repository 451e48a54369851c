/**
 * The request and response payloads that travel as the body of a lane frame. Gateway and sandbox read them; Redis does not. The
 * worker reads them only in the queued lane: the meta part (worker/queued/collector.ts) and the answers to a batch
 * (worker/queued/batch-answer.ts). It treats their bytes as hostile, as it does the reports of a failed run
 * (worker/run/run.ts). No schema library here: this file is part of every sandbox.
 *
 * The layout is PAYLOAD in contract/wire/layouts.ts: the length of the meta part, its JSON, then the raw bytes of the body.
 */
import { putPayload, readPayload } from './wire.gen.ts';

/** Header names in lower case, in order, repeated ones repeated (`set-cookie`). */
export type HeaderList = [name: string, value: string][];

export interface RequestMeta {
  /**
   * `http`: an HTTP request. `event`: the body is one JSON value for `handler(event)`. `scheduled`: the body is a
   * ScheduledEvent for `scheduled(event)`, if the function has that. `batch`: the body is a BatchRequest for `queue(batch)`.
   */
  readonly kind: 'http' | 'event' | 'scheduled' | 'batch';
  readonly method: string;
  /** Absolute URL as the function sees it, without the part up to and including the function's name. */
  readonly url: string;
  readonly headers: HeaderList;
}

/** Meta part for one JSON value that does not come by HTTP. A new object each time, because its headers may be added to. */
export function jsonMeta(kind: 'event' | 'scheduled'): RequestMeta {
  // The function's own root, as for requests.
  return { kind, method: 'POST', url: 'http://localhost/', headers: [['content-type', 'application/json']] };
}

/** Event for a function at a time of its schedule. */
export interface ScheduledEvent {
  readonly type: 'schedule';
  readonly cron: string;
  /** Unix time in milliseconds for which it was planned. */
  readonly scheduledTime: number;
  /** Value of `schedule.input` in offshoot.json. */
  readonly input: unknown;
}

/** Body of a payload of the kind `batch`, from which `queue(batch)` gets its argument. */
export interface BatchRequest {
  readonly id: string;
  readonly items: readonly { readonly index: number; readonly tries: number; readonly body: unknown }[];
}

/** One line of the answer to a batch. A sandbox made it, so it is hostile until the worker has checked it. */
export interface BatchAnswer {
  readonly index: number;
  readonly ok: boolean;
  readonly result?: unknown;
  readonly error?: { name: string; message: string; stack?: string };
  /** Delay in seconds that the function asks for before the next try. */
  readonly delay?: number;
}

/** Header of the answer to a batch of a function that has no `queue()`; the worker then calls it for each item. */
export const NO_QUEUE_HANDLER = 'x-offshoot-no-queue-handler';

/** A sandbox made it, so it is hostile until the gateway has checked it: status 200 to 599, legal header names and values. */
export interface ResponseMeta {
  readonly status: number;
  readonly headers: HeaderList;
}

export function encodePayload(meta: RequestMeta | ResponseMeta, body: Uint8Array): Buffer {
  return Buffer.concat(putPayload({ meta: Buffer.from(JSON.stringify(meta)), body }));
}

/** Splits a payload; `meta` is untrusted JSON until its schema has checked it. Throws when the lengths do not add up. */
export function decodePayload(payload: Buffer): { meta: unknown; body: Buffer } {
  const parts = readPayload(payload);
  if (!parts) throw new Error(`payload: its meta part does not end within its ${payload.length} bytes`);
  return { meta: JSON.parse(parts.meta.toString('utf8')), body: parts.body };
}
