/** Files that are seen whole or not at all, whoever reads them and whatever ends the one who writes. */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { OffshootError } from '#contract/api/errors.ts';

/**
 * Writes what `source` yields beside `target`, under a name that nobody asks for, and renames it. `durable`: it is on disk
 * before it has its name, so that after a power cut there is no file with the right name and wrong bytes. Throws what `source`
 * throws, or `storage_full`; nothing is left then.
 */
export async function writeBeside(
  target: string,
  source: AsyncIterable<Uint8Array>,
  { mode, durable }: { readonly mode: number; readonly durable: boolean },
): Promise<{ bytes: number }> {
  // In the same directory, so that the rename stays within one file system and is atomic.
  const temporary = join(dirname(target), `.${randomUUID()}.part`);
  let file: FileHandle | undefined;
  try {
    await mkdir(dirname(target), { recursive: true });
    file = await open(temporary, 'wx', mode);
    let bytes = 0;
    for await (const chunk of source) {
      await writeAll(file, chunk);
      bytes += chunk.length;
    }
    if (durable) await file.datasync();
    await file.close();
    file = undefined;
    await rename(temporary, target);
    return { bytes };
  } catch (error) {
    await file?.close().catch(() => undefined);
    await rm(temporary, { force: true }).catch(() => undefined);
    throw storageError(error);
  }
}

/** Writes all of it: a single write() may write less. */
export async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  let rest = chunk;
  while (rest.length > 0) {
    const { bytesWritten } = await file.write(rest);
    rest = rest.subarray(bytesWritten);
  }
}

/** Names the one disk error that an operator mends by hand; passes any other on as it is. */
export function storageError(error: unknown): unknown {
  const code = errno(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new OffshootError('storage_full', `the disk of the artifact store is full (${code})`, {
    cause: error,
  });
}

/** Undefined when there is no such file. It is open when this resolves, so that it can be read even if it is removed meanwhile. */
export async function openToRead(path: string): Promise<Readable | undefined> {
  const stream = createReadStream(path);
  return await new Promise<Readable>((resolve, reject) => {
    stream.once('open', () => resolve(stream));
    stream.once('error', reject);
  }).catch(missing);
}

/** For catch(): what is not there is undefined, any other failure goes on. */
export function missing(error: unknown): undefined {
  if (errno(error) === 'ENOENT') return undefined;
  throw error;
}

function errno(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
