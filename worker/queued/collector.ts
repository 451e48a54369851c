/** Gathers the frames in which an execution answers, where no gateway waits for them. */
import type { RunReport } from '#contract/invocation.ts';
import { decodeLaneFrame, LaneKind, type ReplyHeader } from '#contract/lane.ts';
import { decodePayload } from '#contract/payload.ts';
import type { Execution } from '../execute.ts';

export interface Collected {
  readonly report: RunReport;
  /** The response, when there is one. */
  readonly payload?: Buffer;
}

/** What the queued lane reads of a response by itself; all else is for whoever fetches the result. */
export interface Answered {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: Buffer;
}

/** Status and headers may take so much: reading them must not hold the worker up. */
const MAX_META_BYTES = 64 * 1024;

export class Collector {
  readonly ended: Promise<Collected>;
  readonly #maxBytes: number;
  #end: (collected: Collected) => void = () => undefined;
  #parts: Buffer[] = [];
  #bytes = 0;
  #tooLarge = false;
  execution: Execution | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  onFrame(frame: Buffer): void {
    const { kind, header, body } = decodeLaneFrame(frame);
    const { report } = header as ReplyHeader;
    if (kind === LaneKind.HEAD || kind === LaneKind.CHUNK) {
      this.#add(body);
      // What a stream sends before its window is used up counts from its second frame on.
      if (kind === LaneKind.CHUNK) this.execution?.credit(body.length);
      return;
    }
    if (!report) return;
    if (kind === LaneKind.RESULT) this.#add(body);
    if (this.#tooLarge) return this.#end({ report: { ...report, outcome: 'response_too_large' } });
    const whole = kind !== LaneKind.FAILED && report.outcome === 'ok';
    this.#end({ report, ...(whole && { payload: Buffer.concat(this.#parts) }) });
  }

  #add(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (this.#bytes > this.#maxBytes) {
      this.#tooLarge = true;
      this.#parts = [];
      this.execution?.cancel();
    } else this.#parts.push(bytes);
  }
}

/** Status and Retry-After of a response, or undefined where it is none. */
export function readAnswer(payload: Buffer): Answered | undefined {
  if (payload.length < 4 || payload.readUInt32LE(0) > MAX_META_BYTES) return undefined;
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
