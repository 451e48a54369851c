/** Running other programs, and hashing files. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Runs a program to its end and gives its stdout; its stderr is in the error when it fails. */
export async function run(command: string, args: readonly string[], cwd?: string): Promise<string> {
  const { stdout } = await execute(command, args, {
    ...(cwd === undefined ? {} : { cwd }),
    // Package descriptions and versions are compared as text, so the language must not vary.
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout;
}

/** The hash of a file, read as a stream: the archives are large. */
export async function hashFile(path: string, algorithm: 'sha256' | 'sha512'): Promise<Buffer> {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path), hash);
  return hash.digest();
}

/** A hex sha256 of anything that JSON can say. */
export function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
