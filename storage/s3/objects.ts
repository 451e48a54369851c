/**
 * Reads and writes objects of one bucket, below one prefix. Only this module uses the S3 client, and it is loaded only where S3
 * is configured, because the client costs 70 ms and 38 MB.
 */
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  paginateListObjectsV2,
  PutObjectCommand,
  S3Client,
  type _Object,
  type ListObjectsV2CommandOutput,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { Readable } from 'node:stream';
import { isMissing, s3Error } from './errors.ts';
import { resumable, type Opened } from './reader.ts';
import { withScratch } from './scratch.ts';
import type { S3Settings } from './settings.ts';
import { Semaphore } from './semaphore.ts';

const MB = 1024 * 1024;
/** Size of a part. S3 takes 10,000 parts of an object: 78 GB, more than the largest body that a gateway can be set to take. */
const PART_BYTES = 8 * MB;
/** Parts of an object in memory, so that one is read while the other is sent; with UPLOADS_AT_ONCE, 128 MB at most. */
const PARTS_AT_ONCE = 2;
const UPLOADS_AT_ONCE = 8;
/** Time limit for the wait of an upload for its turn. */
const PATIENCE_MS = 30_000;
/** Upper bound of S3 on the objects that one request removes. */
const DELETES_AT_ONCE = 1_000;

/** Time limits for a connection and for an answer; within the latter, 8 MB must have been sent. */
const CONNECT_MS = 3_000;
const ANSWER_MS = 30_000;
/** Attempts in all, with a random wait of the client between them; only requests that may run twice are retried. */
const MAX_ATTEMPTS = 3;
/** Upper bound on connections. Each large body that is read holds one; by default, the 51st would wait silently. */
const MAX_SOCKETS = 512;

export class S3Objects {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #scratch: string;
  readonly #uploads = new Semaphore(UPLOADS_AT_ONCE, PATIENCE_MS);

  /** `scratch`: a directory for bodies in transit. */
  constructor(settings: S3Settings, scratch: string) {
    this.#bucket = settings.bucket;
    this.#prefix = settings.prefix === '' ? '' : `${settings.prefix}/`;
    this.#scratch = scratch;
    const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
    this.#client = new S3Client({
      region: settings.region,
      ...(settings.endpoint !== undefined && { endpoint: settings.endpoint }),
      forcePathStyle: settings.pathStyle,
      credentials: settings.credentials,
      maxAttempts: MAX_ATTEMPTS,
      requestHandler: {
        connectionTimeout: CONNECT_MS,
        requestTimeout: ANSWER_MS,
        throwOnRequestTimeout: true,
        httpAgent: agent,
        httpsAgent: agent,
      },
      // Not every server knows the newer checksums. Each request is signed with the sha256 of its body all the same.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  /** Throws `storage_unavailable` when the bucket cannot be reached or refuses these credentials. */
  async check(): Promise<void> {
    await this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket })).catch(refuse);
  }

  /** Keeps the bytes of `source`, in place of an earlier object. Readers see all of them or none. */
  async put(key: string, source: Uint8Array | AsyncIterable<Uint8Array>): Promise<{ bytes: number }> {
    if (source instanceof Uint8Array && source.length <= PART_BYTES) {
      await this.#putWhole(key, source);
      return { bytes: source.length };
    }
    const chunks = source instanceof Uint8Array ? only(source) : source;
    return await withScratch(this.#scratch, chunks, async ({ file, bytes }) => {
      await this.#uploads.within(async () => {
        if (bytes <= PART_BYTES) {
          const whole = Buffer.allocUnsafe(bytes);
          for (let at = 0; at < bytes;) at += (await file.read(whole, at, bytes - at, at)).bytesRead;
          return await this.#putWhole(key, whole);
        }
        const Body = file.createReadStream({ start: 0, autoClose: false, highWaterMark: MB });
        // Upload aborts the multipart upload when a part fails, so that half an object costs nothing.
        const upload = new Upload({
          client: this.#client,
          params: { ...this.#at(key), Body, ContentLength: bytes },
          partSize: PART_BYTES,
          queueSize: PARTS_AT_ONCE,
        });
        await upload.done().catch(refuse);
      });
      return { bytes };
    });
  }

  async #putWhole(key: string, bytes: Uint8Array): Promise<void> {
    await this.#client.send(new PutObjectCommand({ ...this.#at(key), Body: bytes })).catch(refuse);
  }

  /** Undefined when there is no such object. */
  async open(key: string): Promise<Readable | undefined> {
    const ask = async (from: number, etag: string | undefined, signal?: AbortSignal): Promise<Opened> => {
      const command = new GetObjectCommand({
        ...this.#at(key),
        ...(from > 0 && { Range: `bytes=${from}-` }),
        ...(etag !== undefined && { IfMatch: etag }),
      });
      const { Body, ContentLength, ETag } = await this.#client.send(
        command,
        signal && { abortSignal: signal },
      );
      // In Node the body is always a Readable.
      if (!(Body instanceof Readable)) throw new Error('the answer has no body');
      return { body: Body, etag: ETag, size: from + (ContentLength ?? 0) };
    };
    try {
      const first = await ask(0, undefined);
      return resumable(first, (...args) => ask(...args).catch(refuse));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw s3Error(error);
    }
  }

  async size(key: string): Promise<number | undefined> {
    try {
      return (await this.#client.send(new HeadObjectCommand(this.#at(key)))).ContentLength ?? 0;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw s3Error(error);
    }
  }

  async remove(key: string): Promise<void> {
    await this.#client.send(new DeleteObjectCommand(this.#at(key))).catch(refuse);
  }

  /** The keys of all objects below `under`. */
  async *list(under: string): AsyncGenerator<string, void> {
    try {
      for await (const { Contents = [] } of this.#pages(under))
        for (const { Key } of Contents) if (Key !== undefined) yield Key.slice(this.#prefix.length);
    } catch (error) {
      throw s3Error(error);
    }
  }

  /**
   * Removes the objects below `under`: all, or those that were written before a Unix time in milliseconds and are not spared.
   * Resolves to their number.
   */
  async removeAll(
    under: string,
    before = Infinity,
    spare?: (key: string) => Promise<boolean>,
  ): Promise<number> {
    let removed = 0;
    try {
      for await (const { Contents = [] } of this.#pages(under)) {
        const old = Contents.filter(
          ({ LastModified }) => before === Infinity || (LastModified?.getTime() ?? Infinity) < before,
        );
        const spared = await Promise.all(
          old.map(
            async ({ Key = '' }) => spare !== undefined && (await spare(Key.slice(this.#prefix.length))),
          ),
        );
        const gone = old.filter((_, at) => !spared[at]);
        await this.#deleteObjects(gone);
        removed += gone.length;
      }
    } catch (error) {
      throw s3Error(error);
    }
    return removed;
  }

  #pages(under: string): AsyncIterable<ListObjectsV2CommandOutput> {
    return paginateListObjectsV2(
      { client: this.#client, pageSize: DELETES_AT_ONCE },
      { Bucket: this.#bucket, Prefix: this.#prefix + under },
    );
  }

  async #deleteObjects(objects: readonly _Object[]): Promise<void> {
    if (objects.length === 0) return;
    const Objects = objects.map(({ Key }) => ({ Key }));
    const { Errors: [failed] = [] } = await this.#client.send(
      new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects, Quiet: true } }),
    );
    if (failed) throw Object.assign(new Error(failed.Message), { name: failed.Code ?? 'Error' });
  }

  /** Aborts uploads that killed processes have left unfinished. */
  async abandonUploads(under: string, before: number): Promise<void> {
    try {
      const where = { Bucket: this.#bucket, Prefix: this.#prefix + under };
      const { Uploads = [] } = await this.#client.send(new ListMultipartUploadsCommand(where));
      for (const { Key, UploadId, Initiated } of Uploads) {
        if ((Initiated?.getTime() ?? Infinity) >= before) continue;
        await this.#client.send(new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key, UploadId }));
      }
    } catch (error) {
      throw s3Error(error);
    }
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function refuse(error: unknown): never {
  throw s3Error(error);
}
