/** Opens the artifact store of a process: the directory that all processes of a host share, or a bucket that all hosts share. */
import { join } from 'node:path';
import { DirectoryArtifactStore, type ArtifactStore } from './artifacts/artifacts.ts';
import { DirectoryBlobStore, type BlobStore } from './artifacts/blobs.ts';
import type { Log } from './log.ts';
import { S3ArtifactStore } from './s3/artifacts.ts';
import { S3BlobStore } from './s3/blobs.ts';
import type { S3Objects } from './s3/objects.ts';
import type { S3Settings } from './s3/settings.ts';

export interface Stores {
  readonly artifacts: ArtifactStore;
  readonly blobs: BlobStore;
}

/** `state` is the directory of the installation. With `s3` it holds only bodies in transit. */
export function openStores(state: string, s3: S3Settings | undefined, log: Log): Stores {
  if (!s3) {
    return {
      artifacts: new DirectoryArtifactStore(join(state, 'artifacts')),
      blobs: new DirectoryBlobStore(join(state, 'blobs')),
    };
  }
  const objects = openObjects(s3, join(state, 'scratch'));
  // Logged at once, but no reason not to start: the server may come later, as Redis may.
  objects
    .then((opened) => opened.check())
    .catch((error: unknown) => {
      log.error(
        { err: error, bucket: s3.bucket, endpoint: s3.endpoint },
        'the artifact store cannot be used: look at its server, the name of its bucket and the AWS_ variables',
      );
    });
  return { artifacts: new S3ArtifactStore(objects), blobs: new S3BlobStore(objects) };
}

/** Loaded only when S3 is configured, because the client costs time and memory at start. */
async function openObjects(settings: S3Settings, scratch: string): Promise<S3Objects> {
  const { S3Objects: Objects } = await import('./s3/objects.ts');
  return new Objects(settings, scratch);
}
