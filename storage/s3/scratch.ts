/**
 * Keeps a body in a file before it goes to S3. S3 takes large bodies in parts of at least 5 MB, and each part must be held whole:
 * in memory, a thousand slow clients would take gigabytes. So no part is in memory while its client sends, and a body that is
 * incomplete or has a wrong digest never reaches S3.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { storageError, writeAll } from '../artifacts/files.ts';

export interface Scratch {
  readonly file: FileHandle;
  readonly bytes: number;
}

/** Writes the chunks of `source` to a file in `directory`, which exists until `use` has ended. */
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
    // The file has no name from now on, so the kernel removes it with this process, whatever ends the process.
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
