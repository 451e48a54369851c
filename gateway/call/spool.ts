/**
 * Keeps request bodies that are too large for Redis and for memory. They are written to the artifact store as they arrive, and
 * the call carries their key. They are not streamed to the function: a slow client would then hold a sandbox, and use up the
 * time limit of the run, for as long as it likes. A queued call and a retry need the whole body anyway.
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
/** Interval between two sweeps for bodies that no process removed. */
const SWEEP_MS = 10 * 60_000;
/** Age at which the sweep removes the body of a synchronous call. */
const CALL_TTL_S = 2 * 86_400;

/** Folders of bodies, with the age in seconds at which they are swept. In HELD, an invocation or batch can keep them. */
const FOLDERS = {
  calls: CALL_TTL_S,
  inputs: RECORD_TTL_S,
  results: RESULT_TTL_S,
  batches: RECORD_TTL_S,
} as const;
const HELD: ReadonlySet<string> = new Set(['inputs', 'batches']);

export interface SpoolOptions {
  readonly blobs: BlobStore;
  /** Upper bound on the bytes of all bodies of synchronous calls: any client can call a public function and fill the disk. */
  readonly maxBytes: number;
  /** Time after which a client that sends nothing in the middle of its body is disconnected. */
  readonly stalledMs?: number;
  /** Whether an invocation or a batch still needs this body. */
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
  /** Bytes of the bodies of synchronous calls. */
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
   * Keeps the body of a request, of which `begun` has been read, for a synchronous call or for the queue. Throws
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
      // Queued bodies are not counted: their callers have a key, and queued invocations are bounded in number and age.
      if (queued) return;
      counted += chunk.length;
      this.#held += chunk.length;
      if (this.#held > this.#maxBytes) throw this.#full();
    });
    try {
      // A queued call must survive a power cut; a synchronous call ends with this process anyway.
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

  /** Copies the body of one queued invocation for another one. Undefined when the store no longer has it. */
  async copy(ref: BlobRef): Promise<BlobRef | undefined> {
    const source = await this.#blobs.open(ref.key);
    if (!source) return undefined;
    const key = `inputs/${randomUUID()}`;
    const { bytes } = await this.#blobs.put(key, source as AsyncIterable<Buffer>, { durable: true });
    return { key, bytes };
  }

  /** A stream of the bytes of a body. Undefined when the store no longer has it. */
  async open(ref: BlobRef): ReturnType<BlobStore['open']> {
    return await this.#blobs.open(ref.key);
  }

  /** Removes a body that no call needs any more; to be called once. If this fails, the sweep removes it later. */
  async remove({ key, bytes }: BlobRef): Promise<void> {
    if (key.startsWith('calls/')) this.#held -= bytes;
    await this.#blobs.remove(key).catch((error: unknown) => {
      this.#log.warn({ key, error: String(error) }, 'a request body was not removed from the artifact store');
    });
  }

  /** Removes bodies that are too old: those of killed processes, and inputs and results whose records are gone. */
  async sweep(): Promise<void> {
    for (const [folder, ttl] of Object.entries(FOLDERS)) {
      const spare = HELD.has(folder) ? this.#isHeld : undefined;
      await this.#blobs.sweep(ttl * 1000, folder, spare).catch((error: unknown) => {
        this.#log.warn({ folder, error: String(error) }, 'the artifact store could not be swept');
      });
    }
  }
}

/** Yields the chunks read before, then the rest as it comes. The socket is read only after the previous chunk was written. */
async function* arriving(
  request: IncomingMessage,
  begun: readonly Buffer[],
  { limit, stalledMs }: { limit: BodyLimit; stalledMs: number },
  each: (chunk: Buffer) => void,
): AsyncGenerator<Buffer> {
  // Runs only during a wait for the client, which must not pay for a slow store.
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
    // A broken connection may look like the end of the body.
    if (!request.complete) throw new RequestAborted();
  } catch (error) {
    throw request.destroyed && !request.complete ? new RequestAborted() : error;
  } finally {
    clearTimeout(stalled);
  }
}
