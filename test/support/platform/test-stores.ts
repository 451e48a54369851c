/** Both kinds of artifact store, for tests that must hold for either. */
import { mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { DirectoryArtifactStore, type ArtifactStore } from '#storage/artifacts/artifacts.ts';
import { DirectoryBlobStore, type BlobStore } from '#storage/artifacts/blobs.ts';
import { S3ArtifactStore } from '#storage/s3/artifacts.ts';
import { S3BlobStore } from '#storage/s3/blobs.ts';
import { S3Objects } from '#storage/s3/objects.ts';
import { HAS_S3_SERVER, S3Server } from '../servers/s3-server.ts';

export interface TestStores {
  readonly artifacts: ArtifactStore;
  readonly blobs: BlobStore;
  /** All files, unfinished uploads included: `artifacts/NAME` and `blobs/KEY`. */
  files(): Promise<string[]>;
  /** Sets the time of one of those files `ms` milliseconds back. */
  age(file: string, ms: number): Promise<void>;
  close(): Promise<void>;
}

export const STORE_KINDS: readonly [string, () => Promise<TestStores>][] = [
  ['directory', openDirectory],
  ...(HAS_S3_SERVER ? [['S3', openS3] as [string, () => Promise<TestStores>]] : []),
];

async function openDirectory(): Promise<TestStores> {
  const root = await mkdtemp(join(tmpdir(), 'offshoot-stores-'));
  return {
    artifacts: new DirectoryArtifactStore(join(root, 'artifacts')),
    blobs: new DirectoryBlobStore(join(root, 'blobs')),
    files: () => filesIn(root),
    async age(file, ms) {
      const past = new Date(Date.now() - ms);
      await utimes(join(root, file), past, past);
    },
    close: () => rm(root, { recursive: true, force: true }),
  };
}

async function openS3(): Promise<TestStores> {
  const server = await S3Server.start();
  const scratch = await mkdtemp(join(tmpdir(), 'offshoot-scratch-'));
  const objects = Promise.resolve(new S3Objects(server.settings('some/prefix'), scratch));
  return {
    artifacts: new S3ArtifactStore(objects),
    blobs: new S3BlobStore(objects),
    async files() {
      const keys = (await server.files()).map((key) => key.replace('some/prefix/', ''));
      return [...keys, ...(await filesIn(scratch))];
    },
    age: (file, ms) => server.age(`some/prefix/${file}`, ms),
    async close() {
      await server.stop();
      await rm(scratch, { recursive: true, force: true });
    },
  };
}

async function filesIn(root: string): Promise<string[]> {
  const all = await readdir(root, { recursive: true, withFileTypes: true });
  return all
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .toSorted();
}
