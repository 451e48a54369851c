/**
 * A body on its way to S3 lies in a file first. S3 takes what is large in parts of at least 5 MB, and each part must be held
 * whole: in memory, a thousand clients that send slowly would hold gigabytes. So nobody has a part in memory while it is
 * waited for, and what does not arrive whole, or is not what it should be, never reaches S3.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { storageError, writeAll } from '../artifacts/files.ts';

export interface Scratch {
  readonly file: FileHandle;
  readonly bytes: number;
}

/** Writes what `source` yields to a file in `directory`, for as long as `use` lasts. */
export async function withScratch<T>(
  directory: string,
  source: AsyncIterable<Uint8Array>,
  use: (scratch: Scratch) => Promise<T>,
): Promise<T> {
  let file: FileHandle | undefined;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const path = join(directory, randomUUID());
    file = await open(path, 'wx+', 0o600);
    // It has no name from now on, so that it is gone with this process, whatever ends it.
    await rm(path);
    let bytes = 0;
    for await (const chunk of source) {
      await writeAll(file, chunk);
      bytes += chunk.length;
    }
    return await use({ file, bytes });
  } catch (error) {
    throw storageError(error);
  } finally {
    await file?.close().catch(() => undefined);
  }
}
