/**
 * Frames of the sync lane, the binary messages that a gateway and a worker exchange through Redis lists.
 *
 *   byte 0      protocol version (1)
 *   byte 1      kind (LaneKind)
 *   bytes 2-5   length of the header, unsigned, little endian
 *   header      JSON, small and made by the platform
 *   body        raw bytes, passed through untouched
 *
 * The body of a call and of a result is a payload (payload.ts). In the sync lane a worker parses only the header. In the queued
 * lane no gateway waits, so the worker reads the payload's meta part and the answers to a batch.
 */
import { z } from 'zod';
import { Canceller, RunReport } from '../invocations/invocation.ts';

const VERSION = 1;
const PREFIX_BYTES = 6;

export const LaneKind = {
  /** gateway → worker, body: request payload. */
  CALL: 1,
  /** worker → gateway: ids of calls that this worker has taken and still runs. */
  TAKEN: 2,
  /** worker → gateway, body: response payload; complete. */
  RESULT: 3,
  /** worker → gateway, body: response payload with the first bytes; CHUNKs and an END follow. */
  HEAD: 4,
  /** worker → gateway, body: the next bytes. */
  CHUNK: 5,
  /** worker → gateway: the stream has ended; the report has the outcome. */
  END: 6,
  /** worker → gateway: there is no response; the report has the reason. */
  FAILED: 7,
  /** gateway → worker: kill this invocation. */
  CANCEL: 8,
  /** gateway → worker: number of bytes of the stream that have reached the caller. */
  CREDIT: 9,
  /** gateway → worker: the set of namespaces has changed; read it again. */
  REFRESH: 10,
  /** gateway → worker: this function is deleted; end its sandboxes. */
  FORGET: 11,
} as const;
export type LaneKind = (typeof LaneKind)[keyof typeof LaneKind];

/** A body in the artifact store (storage/artifacts/blobs.ts), created by a gateway or a worker, never named by a function. */
export const BlobRef = z.object({ key: z.string(), bytes: z.number() });
export type BlobRef = z.infer<typeof BlobRef>;

export const CallHeader = z.object({
  id: z.string(),
  namespace: z.string(),
  name: z.string(),
  version: z.number(),
  /** `fetch` runs the function; `load` only loads it (a deploy's check) and answers with an empty RESULT. */
  operation: z.enum(['fetch', 'load']),
  /** Unix time in milliseconds after which the caller does not wait any more; a worker drops a call that it takes later. */
  deadline: z.number(),
  /** Gateway that waits for the answer on its reply list. */
  gateway: z.string(),
  /** traceparent for the function: the invocation's trace, with the run span as parent. */
  traceparent: z.string(),
  tracestate: z.string().optional(),
  /** Reference to the body of the request, if it is not in the payload. */
  input: BlobRef.optional(),
  /** In the queued lane: number of the try, from 1, and index of the item that runs by itself. */
  attempt: z.number().optional(),
  item: z.number().optional(),
});
export type CallHeader = z.infer<typeof CallHeader>;

export const TakenHeader = z.object({ worker: z.string(), ids: z.array(z.string()) });
export type TakenHeader = z.infer<typeof TakenHeader>;

export const ReplyHeader = z.object({
  id: z.string(),
  worker: z.string(),
  report: RunReport.optional(),
  /** In a FAILED: part of the answer was lost on its way through Redis. */
  lost: z.boolean().optional(),
});
export type ReplyHeader = z.infer<typeof ReplyHeader>;

export const ControlHeader = z.object({
  id: z.string(),
  bytes: z.number().optional(),
  /** Of a CANCEL: who asked for it. Absent if the gateway itself needs the run no more. */
  by: Canceller.optional(),
  /** `namespace/name` of a FORGET. */
  function: z.string().optional(),
});
export type ControlHeader = z.infer<typeof ControlHeader>;

export interface LaneFrame {
  readonly kind: number;
  readonly header: unknown;
  /** A view into the received buffer, not a copy. */
  readonly body: Buffer;
}

export function encodeLaneFrame(kind: LaneKind, header: object, ...body: Uint8Array[]): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.allocUnsafe(PREFIX_BYTES);
  prefix[0] = VERSION;
  prefix[1] = kind;
  prefix.writeUInt32LE(json.length, 2);
  return Buffer.concat([prefix, json, ...body]);
}

/** Throws on bytes that are not a frame of this version: frames from Redis are checked as well. */
export function decodeLaneFrame(frame: Buffer): LaneFrame {
  if (frame.length < PREFIX_BYTES || frame[0] !== VERSION) {
    throw new Error(
      `lane frame: expected version ${VERSION}, got ${frame.length} bytes starting with ${frame[0]}`,
    );
  }
  const headerEnd = PREFIX_BYTES + frame.readUInt32LE(2);
  if (headerEnd > frame.length)
    throw new Error(`lane frame: header ends at ${headerEnd} of ${frame.length} bytes`);
  return {
    kind: frame[1] ?? 0,
    header: JSON.parse(frame.toString('utf8', PREFIX_BYTES, headerEnd)),
    body: frame.subarray(headerEnd),
  };
}
