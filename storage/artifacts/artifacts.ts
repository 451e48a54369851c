/**
 * The artifact store: archives of functions, each under the sha256 of its bytes. So a reader can verify an archive by its
 * digest, and an archive that is deployed many times is kept once.
 */
import { createHash } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { opendir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { OffshootError } from '#contract/api/errors.ts';
import { missing, openToRead, writeBeside } from './files.ts';

export interface ArtifactStore {
  /** Size in bytes, or undefined when there is no such archive. */
  size(digest: string): Promise<number | undefined>;
  has(digest: string): Promise<boolean>;
  /**
   * Keeps the bytes of `source`. Throws `digest_mismatch` when their sha256 is not `digest`, `archive_too_large` as soon as
   * they exceed `maxBytes`, `storage_full` when the disk is full; nothing is kept then.
   */
  put(digest: string, source: AsyncIterable<Uint8Array>, maxBytes: number): Promise<{ bytes: number }>;
  /** Throws `artifact_not_found`. */
  open(digest: string): Promise<Readable>;
  /** The digests of all archives, in no order. */
  list(): AsyncIterable<string>;
  /** Removes an archive; a missing one is no error. */
  remove(digest: string): Promise<void>;
  /** Removes the remains of uploads that began more than `olderThanMs` ago and never ended. */
  sweep(olderThanMs: number): Promise<void>;
}

/** Archives as files of one directory, which gateway and workers share: `ab/abcdef….tar.gz`. */
export class DirectoryArtifactStore implements ArtifactStore {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** The path of the archive, whether it exists or not. */
  path(digest: string): string {
    return join(this.#root, archiveName(digest));
  }

  async size(digest: string): Promise<number | undefined> {
    return (await stat(this.path(digest)).catch(missing))?.size;
  }

  async has(digest: string): Promise<boolean> {
    return (await this.size(digest)) !== undefined;
  }

  async put(digest: string, source: AsyncIterable<Uint8Array>, maxBytes: number): Promise<{ bytes: number }> {
    return await writeBeside(this.path(digest), checked(digest, source, maxBytes), {
      mode: 0o644,
      durable: true,
    });
  }

  async open(digest: string): Promise<Readable> {
    const stream = await openToRead(this.path(digest));
    if (!stream) throw new OffshootError('artifact_not_found', `there is no archive ${digest}`);
    return stream;
  }

  async *list(): AsyncGenerator<string, void> {
    for await (const { name } of this.#entries()) {
      const digest = digestOf(name);
      if (digest !== undefined) yield digest;
    }
  }

  async remove(digest: string): Promise<void> {
    await rm(this.path(digest), { force: true });
  }

  async sweep(olderThanMs: number): Promise<void> {
    const before = Date.now() - olderThanMs;
    for await (const { name, parentPath } of this.#entries()) {
      if (!name.startsWith('.')) continue;
      const path = join(parentPath, name);
      const seen = await stat(path).catch(missing);
      if (seen && seen.mtimeMs < before) await rm(path, { force: true });
    }
  }

  async *#entries(): AsyncGenerator<Dirent, void> {
    for (const first of (await readdir(this.#root).catch(missing)) ?? [])
      yield* (await opendir(join(this.#root, first)).catch(missing)) ?? [];
  }
}

/** The name of an archive below the root of its store: `ab/abcdef….tar.gz`. */
export function archiveName(digest: string): string {
  // The digest becomes a path. Callers have checked it, but a mistake of a caller must not lead out of the directory.
  if (!/^[0-9a-f]{64}$/.test(digest)) {
    throw new OffshootError(
      'bad_request',
      `"${digest.slice(0, 80)}" is not a sha256 in lower-case hexadecimal`,
    );
  }
  return `${digest.slice(0, 2)}/${digest}.tar.gz`;
}

/** The digest in the last part of an archive's name; undefined for the name of another file. */
export function digestOf(name: string): string | undefined {
  return /^([0-9a-f]{64})\.tar\.gz$/.exec(name)?.[1];
}

/** Yields the chunks of `source`. Throws as `put` does; a wrong digest throws in place of the end. */
export async function* checked(
  digest: string,
  source: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new OffshootError('archive_too_large', `the archive is larger than ${maxBytes} bytes`, {
        details: { limit: maxBytes },
      });
    }
    hash.update(chunk);
    yield chunk;
  }
  const actual = hash.digest('hex');
  if (actual !== digest) {
    throw new OffshootError(
      'digest_mismatch',
      `the ${bytes} bytes that arrived have the sha256 ${actual}, not ${digest}`,
    );
  }
}
