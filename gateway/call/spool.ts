/**
 * Request bodies that are too large for Redis and for memory. They are written to the artifact store as they arrive, and the
 * call carries their key. Not handed on while they arrive: then a client that sends slowly would hold a sandbox, and the time
 * limit of its run, for as long as it likes; a queued call and a retry need all of it anyway.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { OffshootError } from '#contract/api/errors.ts';
import { RECORD_TTL_S, RESULT_TTL_S } from '#contract/platform/keys.ts';
import type { BlobRef } from '#contract/platform/lane.ts';
import type { BlobStore, Spare } from '#storage/artifacts/blobs.ts';
import type { Log } from '#storage/log.ts';
import { RequestAborted, tooLarge, type BodyLimit } from './body.ts';

const STALLED_CLIENT_MS = 60_000;
/** How often what nobody has removed is looked for, and the age at which the body of a call that somebody waited for is such. */
const SWEEP_MS = 10 * 60_000;
const CALL_TTL_S = 2 * 86_400;

/** Where bodies lie, with the seconds after which they are swept away, unless something that may wait for longer holds them. */
const PLACES = {
  calls: CALL_TTL_S,
  inputs: RECORD_TTL_S,
  results: RESULT_TTL_S,
  batches: RECORD_TTL_S,
} as const;
const HELD: ReadonlySet<string> = new Set(['inputs', 'batches']);

export interface SpoolOptions {
  readonly blobs: BlobStore;
  /** Bytes that the bodies of calls under way may have together: anybody can call a public function, and nobody's disk is endless. */
  readonly maxBytes: number;
  /** A client that sends nothing for so long in the middle of its body is cut off. */
  readonly stalledMs?: number;
  /** Does an invocation or a batch need this body still? */
  readonly isHeld?: Spare;
  readonly log: Log;
}

/** `digest` is the sha256 of the body, when it was asked for. */
export interface Spooled extends BlobRef {
  readonly digest?: string;
}

export class Spool {
  readonly #blobs: BlobStore;
  readonly #maxBytes: number;
  readonly #stalledMs: number;
  readonly #isHeld: Spare | undefined;
  readonly #log: Log;
  /** Of calls that somebody waits for. */
  #held = 0;
  #sweeping: NodeJS.Timeout | undefined;

  constructor({ blobs, maxBytes, stalledMs = STALLED_CLIENT_MS, isHeld, log }: SpoolOptions) {
    this.#isHeld = isHeld;
    this.#stalledMs = stalledMs;
    this.#blobs = blobs;
    this.#maxBytes = maxBytes;
    this.#log = log;
  }

  start(): void {
    this.#sweeping = setInterval(() => void this.sweep(), SWEEP_MS);
    void this.sweep();
  }

  stop(): void {
    clearInterval(this.#sweeping);
  }

  /**
   * Keeps the body of a request, of which `begun` has been read, for a call that somebody waits for or for the queue. Throws
   * `body_too_large`, `spool_full` or RequestAborted; nothing is kept then.
   */
  async keep(
    request: IncomingMessage,
    begun: readonly Buffer[],
    limit: BodyLimit,
    { queued, digest }: { queued: boolean; digest: boolean },
  ): Promise<Spooled> {
    const key = `${queued ? 'inputs' : 'calls'}/${randomUUID()}`;
    const hash = digest ? createHash('sha256') : undefined;
    let counted = 0;
    const source = arriving(request, begun, { limit, stalledMs: this.#stalledMs }, (chunk) => {
      hash?.update(chunk);
      // Who may queue has a key, and what is queued is bounded by its number and its time.
      if (queued) return;
      counted += chunk.length;
      this.#held += chunk.length;
      if (this.#held > this.#maxBytes) throw this.#full();
    });
    try {
      // What is queued outlives this process; what somebody waits for does not outlive a power cut anyway.
      const { bytes } = await this.#blobs.put(key, source, { durable: queued });
      return { key, bytes, ...(hash && { digest: hash.digest('hex') }) };
    } catch (error) {
      this.#held -= counted;
      throw error;
    }
  }

  #full(): OffshootError {
    return new OffshootError(
      'spool_full',
      `the large bodies of the calls under way have more than ${this.#maxBytes} bytes together`,
      { details: { limit: this.#maxBytes } },
    );
  }

  /** Keeps the body of one invocation of the queue for another one. Undefined when it is not there any more. */
  async copy(ref: BlobRef): Promise<BlobRef | undefined> {
    const source = await this.#blobs.open(ref.key);
    if (!source) return undefined;
    const key = `inputs/${randomUUID()}`;
    const { bytes } = await this.#blobs.put(key, source as AsyncIterable<Buffer>, { durable: true });
    return { key, bytes };
  }

  /** The bytes of a body, as they are read. Undefined when it is not there any more. */
  async open(ref: BlobRef): ReturnType<BlobStore['open']> {
    return await this.#blobs.open(ref.key);
  }

  /** Nobody needs it any more; to be called once. What cannot be removed is swept away later. */
  async remove({ key, bytes }: BlobRef): Promise<void> {
    if (key.startsWith('calls/')) this.#held -= bytes;
    await this.#blobs.remove(key).catch((error: unknown) => {
      this.#log.warn({ key, error: String(error) }, 'a request body was not removed from the artifact store');
    });
  }

  /** Removes what is past its time: bodies of processes that were killed, inputs and results whose records are gone. */
  async sweep(): Promise<void> {
    for (const [place, ttl] of Object.entries(PLACES)) {
      const spare = HELD.has(place) ? this.#isHeld : undefined;
      await this.#blobs.sweep(ttl * 1000, place, spare).catch((error: unknown) => {
        this.#log.warn({ place, error: String(error) }, 'the artifact store could not be swept');
      });
    }
  }
}

/** What has been read, then the rest as it comes. The socket is read only when the one before is written. */
async function* arriving(
  request: IncomingMessage,
  begun: readonly Buffer[],
  { limit, stalledMs }: { limit: BodyLimit; stalledMs: number },
  each: (chunk: Buffer) => void,
): AsyncGenerator<Buffer> {
  // Runs only while the client is waited for: that the store is slow is not its fault.
  let stalled: NodeJS.Timeout | undefined;
  const wait = (): void => {
    clearTimeout(stalled);
    stalled = setTimeout(() => request.destroy(), stalledMs);
  };
  let bytes = 0;
  const take = (chunk: Buffer): Buffer => {
    bytes += chunk.length;
    if (bytes > limit.bytes) throw tooLarge(limit, bytes, false);
    each(chunk);
    return chunk;
  };
  try {
    for (const chunk of begun) yield take(chunk);
    wait();
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      clearTimeout(stalled);
      yield take(chunk);
      wait();
    }
    // A connection that broke may look like an end.
    if (!request.complete) throw new RequestAborted();
  } catch (error) {
    throw request.destroyed && !request.complete ? new RequestAborted() : error;
  } finally {
    clearTimeout(stalled);
  }
}
