/** Keeps blobs as objects `blobs/KEY` of an S3-compatible store. A blob that the store has acknowledged is always durable. */
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { assertKey, limited, type BlobStore, type PutOptions, type Spare } from '../artifacts/blobs.ts';
import type { S3Objects } from './objects.ts';

const PREFIX = 'blobs/';

export class S3BlobStore implements BlobStore {
  readonly #objects: Promise<S3Objects>;

  constructor(objects: Promise<S3Objects>) {
    this.#objects = objects;
  }

  async put(
    key: string,
    source: Uint8Array | AsyncIterable<Uint8Array>,
    { maxBytes = Infinity }: PutOptions = {},
  ): Promise<{ bytes: number }> {
    assertKey(key);
    const small = source instanceof Uint8Array && source.length <= maxBytes;
    return await (await this.#objects).put(PREFIX + key, small ? source : limited(source, maxBytes));
  }

  async open(key: string): Promise<Readable | undefined> {
    assertKey(key);
    return await (await this.#objects).open(PREFIX + key);
  }

  async read(key: string): Promise<Buffer | undefined> {
    const stream = await this.open(key);
    return stream && (await buffer(stream));
  }

  async size(key: string): Promise<number | undefined> {
    assertKey(key);
    return await (await this.#objects).size(PREFIX + key);
  }

  async remove(key: string): Promise<void> {
    assertKey(key);
    const objects = await this.#objects;
    await Promise.all([objects.remove(PREFIX + key), objects.removeAll(`${PREFIX}${key}/`)]);
  }

  async sweep(olderThanMs: number, under?: string, spare?: Spare): Promise<number> {
    if (under !== undefined) assertKey(under);
    const prefix = under === undefined ? PREFIX : `${PREFIX}${under}/`;
    const before = Date.now() - olderThanMs;
    const objects = await this.#objects;
    await objects.abandonUploads(prefix, before);
    return await objects.removeAll(prefix, before, spare && ((key) => spare(key.slice(PREFIX.length))));
  }
}
