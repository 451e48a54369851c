/**
 * Bodies that are too large for Redis, beside the archives in the artifact store: whoever writes one passes its key on
 * instead of its bytes (a claim check: https://www.enterpriseintegrationpatterns.com/StoreInLibrary.html). A key is chosen by
 * its writer, such as `invocations/{id}/input`, so that one that was written twice is kept once.
 */
import { opendir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { OffshootError } from '#contract/api/errors.ts';
import { missing, openToRead, writeBeside } from './files.ts';

export interface PutOptions {
  /** Throws `body_too_large` past it; nothing is kept then. */
  readonly maxBytes?: number;
  /** Is it to be there after a power cut? Costs a flush of the disk. */
  readonly durable?: boolean;
}

export interface BlobStore {
  /** Keeps what `source` yields under the key, in place of what was there. A reader sees all of it or none. */
  put(
    key: string,
    source: Uint8Array | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<{ bytes: number }>;
  /** Undefined when it is not there. */
  open(key: string): Promise<Readable | undefined>;
  read(key: string): Promise<Buffer | undefined>;
  /** Undefined when it is not there. */
  size(key: string): Promise<number | undefined>;
  /** Removes the blob, or all whose keys start with `key/`. What is not there is no error. */
  remove(key: string): Promise<void>;
  /**
   * Removes what was written more than so many milliseconds ago, of all or of what lies below `under`, but for what `spare`
   * says. Resolves to how many.
   */
  sweep(olderThanMs: number, under?: string, spare?: Spare): Promise<number>;
}

/** Is the blob of this key kept, though old? When it cannot tell, nothing more is removed. */
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

/** Whoever made the key has made a good one; a mistake there must not leave the store. */
export function assertKey(key: string): void {
  if (!KEY.test(key)) throw new OffshootError('bad_request', `"${key.slice(0, 80)}" is not a key of a blob`);
}

/** Yields what `source` yields, and throws `body_too_large` in place of what is too much. */
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

/** Files and empty directories in it that were last changed before `before`, a Unix time in milliseconds. */
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
      // Refused where it is not empty. A put that has just made it and finds it gone fails, hence its age.
      if (seen.mtimeMs < before) await rmdir(inner).catch(() => undefined);
    } else if (seen.mtimeMs < before && !(await spared(inner))) {
      await rm(inner, { force: true });
      removed++;
    }
  }
  return removed;
}
