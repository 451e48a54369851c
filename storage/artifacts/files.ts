/** Writes files that readers see whole or not at all, even when the writing process is killed. */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { OffshootError } from '#contract/api/errors.ts';

/**
 * Writes the chunks of `source` to a temporary file beside `target`, and renames it. `durable`: the bytes are on disk before
 * the rename, so that a power cut leaves no file with the right name and wrong bytes. Throws the error of `source`, or
 * `storage_full`; nothing is left then.
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

/** Writes the whole chunk, because a single write() may write less. */
export async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  let rest = chunk;
  while (rest.length > 0) {
    const { bytesWritten } = await file.write(rest);
    rest = rest.subarray(bytesWritten);
  }
}

/** Turns the one disk error that an operator must fix by hand into `storage_full`; returns any other unchanged. */
export function storageError(error: unknown): unknown {
  const code = errno(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new OffshootError('storage_full', `the disk of the artifact store is full (${code})`, {
    cause: error,
  });
}

/** A stream of the file, or undefined. The file is open when this resolves, so a removal meanwhile does not matter. */
export async function openToRead(path: string): Promise<Readable | undefined> {
  const stream = createReadStream(path);
  return await new Promise<Readable>((resolve, reject) => {
    stream.once('open', () => resolve(stream));
    stream.once('error', reject);
  }).catch(missing);
}

/** For catch(): a missing file gives undefined, any other error is thrown on. */
export function missing(error: unknown): undefined {
  if (errno(error) === 'ENOENT') return undefined;
  throw error;
}

function errno(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
