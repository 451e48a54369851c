/**
 * Collects the frames of an execution's answer when no gateway waits for them. A large response body goes to the artifact store.
 */
import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { RunReport } from '#contract/invocations/invocation.ts';
import type { Failed } from '#contract/invocations/outcome.ts';
import { decodeLaneFrame, LaneKind, type BlobRef, type ReplyHeader } from '#contract/platform/lane.ts';
import { DEFAULT_INLINE_BODY_BYTES, MAX_RESPONSE_META_BYTES } from '#contract/functions/limits.ts';
import { decodePayload } from '#contract/wire/payload.ts';
import type { BlobStore } from '#storage/artifacts/blobs.ts';
import type { Execution } from '../run/execute.ts';
import { log } from '../process/log.ts';

export interface Collected {
  readonly report: RunReport;
  /** The response, if the run gave one. */
  readonly payload?: Buffer;
  /** The response's body, when it is too large for the payload. */
  readonly blob?: BlobRef;
}

/** The parts of a response that the queued lane reads itself; the rest is for clients that fetch the result. */
export interface Answered {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: Buffer;
}

/** Error that makes the store discard an incomplete response. */
const NO_END = new Error('the response has no end');

/**
 * Buffer in front of the store, whose disk is slower than a sandbox. This and the stream's window bound the memory for a
 * response.
 */
const SPOOL_BUFFER_BYTES = 256 * 1024;

export class Collector {
  readonly ended: Promise<Collected>;
  readonly #blobs: BlobStore;
  #end: (collected: Collected) => void = () => undefined;
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Reason why there will be no result, whatever the execution reports. */
  #broken: Failed | undefined;
  #spooling: { readonly pipe: PassThrough; readonly kept: Promise<BlobRef | undefined> } | undefined;
  execution: Pick<Execution, 'cancel' | 'credit'> | undefined;

  constructor(blobs: BlobStore) {
    this.#blobs = blobs;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  onFrame(frame: Buffer): void {
    const { kind, header, body } = decodeLaneFrame(frame);
    const { report } = header as ReplyHeader;
    if (kind === LaneKind.HEAD) this.#add(body, 0);
    // A stream's window counts from its second frame on.
    if (kind === LaneKind.CHUNK) this.#add(body, body.length);
    if (kind === LaneKind.HEAD || kind === LaneKind.CHUNK || !report) return;
    if (kind === LaneKind.RESULT) this.#add(body, 0);
    void this.#finish(report, kind !== LaneKind.FAILED && report.outcome === 'ok');
  }

  /** Keeps a piece of the response. `credit`: bytes that may follow once these are kept or on their way to the disk. */
  #add(bytes: Buffer, credit: number): void {
    if (this.#broken) return;
    const onward = (): void => this.execution?.credit(credit);
    if (this.#spooling) {
      this.#spooling.pipe.write(bytes, onward);
      return;
    }
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    onward();
    if (this.#bytes > DEFAULT_INLINE_BODY_BYTES) this.#startSpooling();
  }

  /** Leaves status and headers in memory, and writes the body to the artifact store as it arrives. */
  #startSpooling(): void {
    const begun = Buffer.concat(this.#parts);
    const metaEnd = 4 + begun.readUInt32LE(0);
    if (metaEnd > 4 + MAX_RESPONSE_META_BYTES || metaEnd > begun.length) return this.#break('bad_response');
    this.#parts = [Buffer.from(begun.subarray(0, metaEnd))];
    const pipe = new PassThrough({ highWaterMark: SPOOL_BUFFER_BYTES });
    pipe.on('error', () => undefined);
    pipe.write(begun.subarray(metaEnd));
    // A key for this run alone: if the record has changed, this result is discarded, and must not have replaced another's body.
    const key = `results/${randomUUID()}`;
    const kept = this.#blobs.put(key, pipe as AsyncIterable<Buffer>, { durable: true }).then(
      ({ bytes }) => ({ key, bytes }),
      (error: unknown) => {
        if (error === NO_END) return undefined;
        log.error({ error: String(error) }, 'a result could not be kept in the artifact store');
        this.#break('platform_error');
        return undefined;
      },
    );
    this.#spooling = { pipe, kept };
  }

  #break(why: Failed): void {
    this.#broken ??= why;
    this.#parts = [];
    this.#spooling?.pipe.destroy(NO_END);
    // Its result is discarded, so no one has cancelled it.
    this.execution?.cancel();
  }

  async #finish(report: RunReport, whole: boolean): Promise<void> {
    const spooling = this.#spooling;
    if (whole) spooling?.pipe.end();
    // Half of a response is worthless: the store keeps nothing of a source that fails.
    else spooling?.pipe.destroy(NO_END);
    const blob = await spooling?.kept;
    if (this.#broken && whole) return this.#end({ report: { ...report, outcome: this.#broken } });
    if (this.#broken) {
      const outcome = report.outcome === 'cancelled' ? this.#broken : report.outcome;
      return this.#end({ report: { ...report, outcome } });
    }
    this.#end({ report, ...(whole && { payload: Buffer.concat(this.#parts) }), ...(blob && { blob }) });
  }
}

/** Reads status and Retry-After of a response; undefined when they are invalid. */
export function readAnswer(payload: Buffer): Answered | undefined {
  if (payload.length < 4 || payload.readUInt32LE(0) > MAX_RESPONSE_META_BYTES) return undefined;
  try {
    const { meta, body } = decodePayload(payload) as {
      meta: { status?: unknown; headers?: unknown };
      body: Buffer;
    };
    const { status, headers } = meta;
    if (typeof status !== 'number' || !Number.isInteger(status) || status < 200 || status > 599)
      return undefined;
    const pairs = Array.isArray(headers) ? (headers as unknown[]) : [];
    const found = pairs.find(
      (pair): pair is [string, string] =>
        Array.isArray(pair) &&
        typeof pair[0] === 'string' &&
        pair[0].toLowerCase() === 'retry-after' &&
        typeof pair[1] === 'string',
    );
    return { status, retryAfter: found?.[1], body };
  } catch {
    return undefined;
  }
}
