/**
 * Keeps bodies that are too large for Redis, beside the archives in the artifact store. The writer of a blob passes on its key
 * instead of its bytes (a claim check: https://www.enterpriseintegrationpatterns.com/StoreInLibrary.html). The writer chooses
 * the key, such as `invocations/{id}/input`, so that a blob that is written twice is kept once.
 */
import { opendir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { OffshootError } from '#contract/api/errors.ts';
import { missing, openToRead, writeBeside } from './files.ts';

export interface PutOptions {
  /** Upper bound on the bytes. Beyond it, put() throws `body_too_large` and keeps nothing. */
  readonly maxBytes?: number;
  /** The blob must survive a power cut, which costs a flush of the disk. */
  readonly durable?: boolean;
}

export interface BlobStore {
  /** Keeps the bytes of `source` under the key, in place of an earlier blob. A reader sees all of them or none. */
  put(
    key: string,
    source: Uint8Array | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<{ bytes: number }>;
  /** Undefined when there is no such blob. */
  open(key: string): Promise<Readable | undefined>;
  read(key: string): Promise<Buffer | undefined>;
  /** Undefined when there is no such blob. */
  size(key: string): Promise<number | undefined>;
  /** Removes the blob, or all blobs whose keys start with `key/`. A missing one is no error. */
  remove(key: string): Promise<void>;
  /**
   * Removes blobs that were written more than `olderThanMs` ago, of all blobs or of those below `under`, except those that
   * `spare` keeps. Resolves to their number.
   */
  sweep(olderThanMs: number, under?: string, spare?: Spare): Promise<number>;
}

/** Whether the blob of this key is kept though it is old. When this rejects, nothing more is removed. */
export type Spare = (key: string) => Promise<boolean>;

const KEY = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/** Blobs as files of a directory that gateways and workers share. */
export class DirectoryBlobStore implements BlobStore {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async put(
    key: string,
    source: Uint8Array | AsyncIterable<Uint8Array>,
    { maxBytes = Infinity, durable = false }: PutOptions = {},
  ): Promise<{ bytes: number }> {
    return await writeBeside(this.#path(key), limited(source, maxBytes), { mode: 0o600, durable });
  }

  async open(key: string): Promise<Readable | undefined> {
    return await openToRead(this.#path(key));
  }

  async read(key: string): Promise<Buffer | undefined> {
    return await readFile(this.#path(key)).catch(missing);
  }

  async size(key: string): Promise<number | undefined> {
    return (await stat(this.#path(key)).catch(missing))?.size;
  }

  async remove(key: string): Promise<void> {
    await rm(this.#path(key), { recursive: true, force: true });
  }

  async sweep(olderThanMs: number, under?: string, spare?: Spare): Promise<number> {
    const directory = under === undefined ? this.#root : this.#path(under);
    const spared = async (path: string): Promise<boolean> =>
      spare !== undefined && (await spare(relative(this.#root, path)));
    return await sweepDirectory(directory, Date.now() - olderThanMs, spared);
  }

  #path(key: string): string {
    assertKey(key);
    return join(this.#root, key);
  }
}

/** Callers make valid keys, but a mistake of a caller must not lead out of the store. */
export function assertKey(key: string): void {
  if (!KEY.test(key)) throw new OffshootError('bad_request', `"${key.slice(0, 80)}" is not a key of a blob`);
}

/** Yields the chunks of `source`, and throws `body_too_large` in place of the chunk that exceeds the limit. */
export async function* limited(
  source: Uint8Array | AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void> {
  let bytes = 0;
  for await (const chunk of source instanceof Uint8Array ? [source] : source) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new OffshootError('body_too_large', `the body is larger than ${maxBytes} bytes`, {
        details: { limit: maxBytes },
      });
    }
    yield chunk;
  }
}

/** Removes files and empty directories that are older than `before`, a Unix time in ms. Resolves to the number of files. */
async function sweepDirectory(
  path: string,
  before: number,
  spared: (path: string) => Promise<boolean>,
): Promise<number> {
  const entries = await opendir(path).catch(missing);
  if (!entries) return 0;
  let removed = 0;
  for await (const entry of entries) {
    const inner = join(path, entry.name);
    const seen = await stat(inner).catch(missing);
    if (!seen) continue;
    if (entry.isDirectory()) {
      removed += await sweepDirectory(inner, before, spared);
      // Fails for a directory that is not empty. The age spares a new directory, which a put may be about to use.
      if (seen.mtimeMs < before) await rmdir(inner).catch(() => undefined);
    } else if (seen.mtimeMs < before && !(await spared(inner))) {
      await rm(inner, { force: true });
      removed++;
    }
  }
  return removed;
}
