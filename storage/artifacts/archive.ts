/**
 * Reads .tar.gz archives that a stranger made. The gateway inspects each archive before it accepts it, and the worker unpacks
 * it by the same rules, in the same code: an archive could pass one of two different readers and harm the other.
 *
 * Accepted: regular files and directories, under plain relative paths, each once. Refused: everything else.
 */
import { once } from 'node:events';
import { constants } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import * as tar from 'tar-stream';
import { OffshootError } from '#contract/api/errors.ts';
import { MAX_ARCHIVE_ENTRIES, MAX_PATH_BYTES, MAX_UNPACKED_BYTES } from '#contract/functions/limits.ts';
import { storageError, writeAll } from './files.ts';

export interface ArchiveFile {
  /** Relative, with `/`, in normal form. */
  readonly path: string;
  readonly size: number;
  readonly executable: boolean;
}

export interface ArchiveLimits {
  readonly unpackedBytes: number;
  readonly entries: number;
}

const LIMITS: ArchiveLimits = { unpackedBytes: MAX_UNPACKED_BYTES, entries: MAX_ARCHIVE_ENTRIES };

/** Upper bound on a file name of most Linux file systems; a longer name could be inspected but not unpacked. */
const MAX_SEGMENT_BYTES = 255;
/**
 * Upper bounds on the headers and padding of an archive: a fixed part, and a part for each entry. Extended headers are held in
 * memory and parsed in one piece. Without these bounds, an archive of such headers would stop the event loop for seconds.
 */
const OVERHEAD_BYTES = 256 * 1024;
const OVERHEAD_BYTES_PER_ENTRY = 4 * 1024;

/** Checks an archive without writing anything. Throws `bad_archive` or `archive_too_large` at the first offence. */
export async function inspectArchive(source: Readable, limits = LIMITS): Promise<ArchiveFile[]> {
  const files: ArchiveFile[] = [];
  await walk(source, limits, {
    directory: async () => undefined,
    file: async (file, bytes) => {
      files.push(file);
      await skip(bytes);
    },
  });
  return files;
}

/**
 * Unpacks into `directory`, which must not exist yet. Every directory below it is made here, so no link can redirect a write.
 * After an error, the directory is removed.
 */
export async function unpackArchive(
  source: Readable,
  directory: string,
  limits = LIMITS,
): Promise<ArchiveFile[]> {
  const files: ArchiveFile[] = [];
  const made = new Set<string>(['.']);
  const makeDirectory = async (path: string): Promise<void> => {
    if (made.has(path)) return;
    await makeDirectory(dirname(path));
    await mkdir(join(directory, path), { mode: 0o755 });
    made.add(path);
  };
  await mkdir(directory, { mode: 0o755 });
  try {
    await walk(source, limits, {
      directory: makeDirectory,
      file: async (file, bytes) => {
        await makeDirectory(dirname(file.path));
        await writeFile(join(directory, file.path), file.executable, bytes);
        files.push(file);
      },
    });
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw storageError(error);
  }
  return files;
}

async function writeFile(path: string, executable: boolean, bytes: AsyncIterable<unknown>): Promise<void> {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    for await (const chunk of bytes) {
      // tar-stream does not type its chunks, which are always of this class.
      if (chunk instanceof Uint8Array) await writeAll(file, chunk);
    }
    // Set afterwards, so that the mode does not depend on the umask. Only two modes: no setuid, nothing writable by others.
    await file.chmod(executable ? 0o755 : 0o644);
  } finally {
    await file.close();
  }
}

interface Visitor {
  directory(path: string): Promise<void>;
  /** Must read `bytes` to the end. */
  file(file: ArchiveFile, bytes: AsyncIterable<unknown>): Promise<void>;
}

async function walk(source: Readable, limits: ArchiveLimits, visitor: Visitor): Promise<void> {
  const extract = tar.extract();
  const budget = new Budget(limits);
  const paths = new Paths(limits.entries);
  const giveUp = new AbortController();
  let failure: { readonly error: unknown } | undefined;
  const failed = (error: unknown): void => {
    failure ??= { error };
    giveUp.abort();
  };
  let visiting = Promise.resolve();
  extract.on('entry', (header, bytes, next) => {
    visiting = (async () => {
      try {
        await visit(header, bytes, { budget, paths, visitor });
      } catch (error) {
        failed(error);
        return;
      }
      next();
    })();
  });
  extract.on('error', failed);

  try {
    await pipeline(
      source,
      createGunzip(),
      async (unzipped: AsyncIterable<Buffer>) => {
        for await (const chunk of unzipped) {
          budget.bytes(chunk.length);
          if (!extract.write(chunk)) await once(extract, 'drain', { signal: giveUp.signal });
        }
        extract.end(null);
        await once(extract, 'finish', { signal: giveUp.signal });
        // An archive may end right after its last file, which is then still being written.
        await visiting;
      },
      { signal: giveUp.signal },
    );
  } catch (error) {
    failed(error);
  }
  if (!failure) return;
  extract.destroy(null);
  source.destroy();
  await visiting;
  throw archiveError(failure.error);
}

interface Visit {
  readonly budget: Budget;
  readonly paths: Paths;
  readonly visitor: Visitor;
}

async function visit(
  header: tar.Header,
  bytes: AsyncIterable<unknown>,
  { budget, paths, visitor }: Visit,
): Promise<void> {
  const { name, type } = header;
  // Old archives mark a directory by the slash alone.
  const isDirectory = type === 'directory' || (type === 'file' && name.endsWith('/'));
  budget.entry(isDirectory ? 0 : header.size);
  if (isDirectory) {
    if (header.size > 0) throw bad(`the directory "${shown(name)}" has contents of its own`);
    await visitor.directory(paths.addDirectory(plainPath(name)));
    await skip(bytes);
  } else if (type === 'file' || type === 'contiguous-file') {
    const path = paths.addFile(plainPath(name));
    await visitor.file({ path, size: header.size, executable: (header.mode & 0o111) !== 0 }, bytes);
  } else {
    // The parser's value is null for an unknown kind, though its types do not say this.
    const kind = (type as string | null) ?? 'entry of an unknown kind';
    throw bad(`"${shown(name)}" is a ${kind}; only files and directories are accepted`);
  }
}

/** Reads an entry to its end and discards it, because the next header follows. */
async function skip(bytes: AsyncIterable<unknown>): Promise<void> {
  const iterator = bytes[Symbol.asyncIterator]();
  while (!(await iterator.next()).done);
}

/** Upper bounds on an archive. Checked as bytes come out of the decompressor, so a bomb is stopped and not unpacked. */
class Budget {
  readonly #limits: ArchiveLimits;
  #entries = 0;
  #declared = 0;
  #seen = 0;

  constructor(limits: ArchiveLimits) {
    this.#limits = limits;
  }

  entry(size: number): void {
    this.#entries++;
    this.#declared += size;
    if (this.#entries > this.#limits.entries) {
      throw tooLarge(`the archive has more than ${this.#limits.entries} entries`, this.#limits.entries);
    }
    if (this.#declared > this.#limits.unpackedBytes) {
      throw tooLarge(
        `the archive unpacks to more than ${this.#limits.unpackedBytes} bytes`,
        this.#limits.unpackedBytes,
      );
    }
  }

  bytes(count: number): void {
    this.#seen += count;
    if (this.#seen > this.#declared + OVERHEAD_BYTES + this.#entries * OVERHEAD_BYTES_PER_ENTRY) {
      throw bad('the archive has more headers and padding than a sound one needs');
    }
  }
}

/** The paths that were read from an archive; each may come once, and a file cannot also be a directory. */
class Paths {
  readonly #files = new Set<string>();
  readonly #directories = new Set<string>(['.']);
  /** Directories with an entry of their own, in contrast to those that a file implied. */
  readonly #named = new Set<string>();
  readonly #maxDirectories: number;

  /**
   * `maxDirectories`: a path of a kilobyte implies five hundred directories, each of which costs an inode and memory but has no
   * entry to count. Twenty thousand such paths would be ten million directories.
   */
  constructor(maxDirectories: number) {
    this.#maxDirectories = maxDirectories;
  }

  addFile(path: string): string {
    if (this.#files.has(path) || this.#directories.has(path))
      throw bad(`"${shown(path)}" is in the archive twice`);
    this.#addParents(path);
    this.#files.add(path);
    return path;
  }

  addDirectory(path: string): string {
    if (this.#files.has(path) || this.#named.has(path)) throw bad(`"${shown(path)}" is in the archive twice`);
    this.#addParents(path);
    this.#directories.add(path);
    this.#named.add(path);
    return path;
  }

  #addParents(path: string): void {
    for (let parent = dirname(path); !this.#directories.has(parent); parent = dirname(parent)) {
      if (this.#files.has(parent)) throw bad(`"${shown(parent)}" is both a file and a directory`);
      this.#directories.add(parent);
      if (this.#directories.size > this.#maxDirectories) {
        throw tooLarge(
          `the archive has files in more than ${this.#maxDirectories} directories`,
          this.#maxDirectories,
        );
      }
    }
  }
}

/** The path in normal form, when it is a plain relative one. Throws otherwise. */
function plainPath(name: string): string {
  const path = name.replace(/^(\.\/)+/, '').replace(/\/$/, '');
  if (path === '' || path === '.') return '.';
  const refuse = (why: string): OffshootError => bad(`the path "${shown(name)}" ${why}`);
  if (name.startsWith('/')) throw refuse('is absolute');
  // Also U+FFFD, into which bytes that are not UTF-8 are decoded: two different names could become the same one.
  // oxlint-disable-next-line no-control-regex -- it looks for control characters
  if (/[\u0000-\u001f\u007f\\\ufffd]/.test(path))
    throw refuse('has a character that is not accepted in a file name');
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw refuse(`is longer than ${MAX_PATH_BYTES} bytes`);
  for (const segment of path.split('/')) {
    if (segment === '..') throw refuse('leads out of the archive ("..")');
    if (segment === '' || segment === '.') throw refuse('is not in its shortest form');
    if (Buffer.byteLength(segment) > MAX_SEGMENT_BYTES)
      throw refuse(`has a part longer than ${MAX_SEGMENT_BYTES} bytes`);
  }
  return path;
}

function shown(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name).slice(1, -1);
}

function bad(message: string): OffshootError {
  return new OffshootError('bad_archive', message);
}

function tooLarge(message: string, limit: number): OffshootError {
  return new OffshootError('archive_too_large', message, { details: { limit } });
}

/** Errors of gunzip and of the tar parser mean a broken archive; errors of the disk (they name a system call) do not. */
function archiveError(error: unknown): unknown {
  if (error instanceof OffshootError || !(error instanceof Error) || 'syscall' in error) return error;
  return new OffshootError('bad_archive', `this is not a sound .tar.gz archive: ${error.message}`, {
    cause: error,
  });
}
