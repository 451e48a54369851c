/**
 * Packs a bundle into a .tar.gz that depends on nothing but its contents: entries sorted, no times, no owner, two modes.
 * The same function therefore always has the same sha256, and an upload that is there already is never sent again.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { pack } from 'tar-stream';
import { MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, MAX_UNPACKED_BYTES } from '#contract/functions/limits.ts';
import { CliError } from '../terminal/errors.ts';
import { bytes } from '../terminal/text.ts';
import type { Build } from './terms/build.ts';

const gzip = promisify(zlib.gzip);

export interface Archive {
  /** sha256 of `data`, in lower-case hexadecimal. */
  readonly digest: string;
  readonly data: Buffer;
  readonly entries: number;
  readonly unpackedBytes: number;
}

export interface Entry {
  readonly contents: Uint8Array;
  readonly executable: boolean;
}

/** The archive of a build with the packages that it needs as files. */
export async function archiveOf(build: Build): Promise<Archive> {
  const entries = new Map<string, Entry>();
  for (const [name, contents] of build.files) entries.set(name, { contents, executable: false });
  for (const { to, directory, files } of build.packages) {
    for (const file of files()) entries.set(`${to}/${file}`, entryOf(path.join(directory, file)));
  }
  // A module that was bundled under the name of its source stands for it.
  for (const [name, file] of build.copies) if (!build.files.has(name)) entries.set(name, entryOf(file));
  return packEntries(entries);
}

function entryOf(file: string): Entry {
  return { contents: readFileSync(file), executable: (statSync(file).mode & 0o111) !== 0 };
}

/** Packs files; throws when they are more than a gateway takes, naming the largest. */
export async function packEntries(entries: ReadonlyMap<string, Entry>): Promise<Archive> {
  let unpackedBytes = 0;
  for (const { contents } of entries.values()) unpackedBytes += contents.length;
  if (unpackedBytes > MAX_UNPACKED_BYTES) {
    throw tooLarge(`unpacked, the function takes ${bytes(unpackedBytes)}`, MAX_UNPACKED_BYTES, entries);
  }
  if (entries.size > MAX_ARCHIVE_ENTRIES) {
    throw new CliError(
      'usage',
      `the archive would have ${entries.size} files; at most ${MAX_ARCHIVE_ENTRIES} are taken`,
      {
        code: 'archive_too_large',
        next: 'use fewer packages with native code, then: offshoot deploy',
      },
    );
  }
  const tar = pack();
  const parts: Uint8Array[] = [];
  const packed = (async () => {
    for await (const part of tar) if (part instanceof Uint8Array) parts.push(part);
  })();
  // By code unit, not by locale: the order must be the same on every machine.
  const names = [...entries.keys()].toSorted();
  for (const name of names) {
    const { contents, executable } = entries.get(name) ?? { contents: new Uint8Array(), executable: false };
    const header = { name, mode: executable ? 0o755 : 0o644, uid: 0, gid: 0, mtime: new Date(0) };
    await new Promise<void>((resolve, reject) => {
      tar.entry(header, Buffer.from(contents), (error) => (error ? reject(error) : resolve()));
    });
  }
  tar.finalize();
  await packed;
  const data = await gzip(Buffer.concat(parts), { level: 6 });
  // RFC 1952: bytes 4 to 7 are a time, which zlib leaves 0, and byte 9 is the system that compressed: say "unknown".
  data[9] = 255;
  if (data.length > MAX_ARCHIVE_BYTES) {
    throw tooLarge(`the archive takes ${bytes(data.length)}`, MAX_ARCHIVE_BYTES, entries);
  }
  const digest = createHash('sha256').update(data).digest('hex');
  return { digest, data, entries: entries.size, unpackedBytes };
}

function tooLarge(what: string, limit: number, entries: ReadonlyMap<string, Entry>): CliError {
  const largest = [...entries]
    .map(([name, { contents }]) => ({ name, size: contents.length }))
    .toSorted((a, b) => b.size - a.size)
    .slice(0, 5);
  return new CliError('usage', `${what}; at most ${bytes(limit)} are taken`, {
    code: 'archive_too_large',
    lines: [
      'the largest files:',
      ...largest.map(({ name, size }) => `  ${bytes(size).padStart(9)}  ${name}`),
    ],
    details: { limit, largest },
    next: 'remove what the function does not need, then: offshoot deploy',
  });
}
