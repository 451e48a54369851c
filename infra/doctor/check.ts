/** The result of a check of the host, and helpers that the checks share. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** The platform cannot run without a required check; a recommended one makes it faster, larger or safer. */
  readonly level: 'required' | 'recommended';
  /** What was seen. */
  readonly found: string;
  /** The reason for which it matters, in plain words; on failure. */
  readonly cause?: string;
  /** One command that mends it; on failure. */
  readonly fix?: string;
}

/** The command that mends most failures. */
export const SETUP = 'npm run setup';

/** The name and level of a check, before its outcome. */
export type Subject = Pick<Check, 'name' | 'level'>;

export function pass(subject: Subject, found: string): Check {
  return { ...subject, ok: true, found };
}

export function miss(subject: Subject, found: string, cause: string, fix: string): Check {
  return { ...subject, ok: false, found, cause, fix };
}

/** The text of a file, or undefined when it does not exist or cannot be read. */
export async function readText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );
}

/** A sysctl as a number, or undefined where the kernel does not have it. */
export async function readSysctl(name: string): Promise<number | undefined> {
  const text = await readText(`/proc/sys/${name.replaceAll('.', '/')}`);
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
}

const execute = promisify(execFile);

/** Runs a probe: undefined when it succeeded, else the last line of its error output. */
export async function probe(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    await execute(command, args, { timeout: 10_000 });
    return undefined;
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    return said.split('\n').at(-1) || (error instanceof Error ? error.message : String(error));
  }
}
