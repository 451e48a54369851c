/** A file for a result at the end of a command. It is opened at the beginning, so that a wrong path fails before the work. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { CliError, messageOf } from './errors.ts';

export class OutputFile {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #next: string;

  private constructor(handle: FileHandle, path: string, next: string) {
    this.#handle = handle;
    this.#path = path;
    this.#next = next;
  }

  /** The old content stays until there is something to write; `next` is the command where that fails. */
  static async open(path: string, next: string): Promise<OutputFile> {
    try {
      return new OutputFile(await open(path, constants.O_WRONLY | constants.O_CREAT), path, next);
    } catch (error) {
      throw unwritable('usage', path, error, next);
    }
  }

  /** Replaces what the file held. */
  async write(pieces: AsyncIterable<Uint8Array>): Promise<void> {
    if ((await this.#handle.stat()).isFile()) await this.#handle.truncate();
    for await (const piece of pieces) {
      try {
        await this.#handle.appendFile(piece);
      } catch (error) {
        throw unwritable('failed', this.#path, error, this.#next);
      }
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

function unwritable(kind: 'usage' | 'failed', path: string, error: unknown, next: string): CliError {
  return new CliError(kind, `${path} cannot be written: ${messageOf(error)}`, {
    code: 'bad_output',
    next,
    cause: error,
  });
}
