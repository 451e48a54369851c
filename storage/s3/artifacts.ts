/** Keeps archives as objects `artifacts/ab/abcdef….tar.gz` of an S3-compatible store. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { OffshootError } from '#contract/api/errors.ts';
import { archiveName, checked, digestOf, type ArtifactStore } from '../artifacts/artifacts.ts';
import type { S3Objects } from './objects.ts';

const PLACE = 'artifacts/';

export class S3ArtifactStore implements ArtifactStore {
  readonly #objects: Promise<S3Objects>;

  constructor(objects: Promise<S3Objects>) {
    this.#objects = objects;
  }

  async size(digest: string): Promise<number | undefined> {
    const key = keyOf(digest);
    return await (await this.#objects).size(key);
  }

  async has(digest: string): Promise<boolean> {
    return (await this.size(digest)) !== undefined;
  }

  async put(digest: string, source: AsyncIterable<Uint8Array>, maxBytes: number): Promise<{ bytes: number }> {
    const key = keyOf(digest);
    // The check throws after the last byte, before any byte is sent.
    return await (await this.#objects).put(key, checked(digest, source, maxBytes));
  }

  async open(digest: string): Promise<Readable> {
    const key = keyOf(digest);
    const stream = await (await this.#objects).open(key);
    if (!stream) throw new OffshootError('artifact_not_found', `there is no archive ${digest}`);
    return verified(digest, stream);
  }

  async *list(): AsyncGenerator<string, void> {
    for await (const key of (await this.#objects).list(PLACE)) {
      const digest = digestOf(key.slice(key.lastIndexOf('/') + 1));
      if (digest !== undefined) yield digest;
    }
  }

  async remove(digest: string): Promise<void> {
    await (await this.#objects).remove(keyOf(digest));
  }

  async sweep(olderThanMs: number): Promise<void> {
    await (await this.#objects).abandonUploads(PLACE, Date.now() - olderThanMs);
  }
}

function keyOf(digest: string): string {
  return PLACE + archiveName(digest);
}

/** Fails at the end of bytes with another digest: a writer to the bucket could otherwise run other code as a version. */
function verified(digest: string, stream: Readable): Readable {
  const hash = createHash('sha256');
  return Readable.from(
    (async function* () {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        hash.update(chunk);
        yield chunk;
      }
      if (hash.digest('hex') === digest) return;
      throw new OffshootError(
        'digest_mismatch',
        `the artifact store has other bytes under the digest ${digest}`,
      );
    })(),
    { objectMode: false },
  );
}
