/**
 * Fetches the inputs of the runtime images into the cache and checks every hash. The user who called the set-up runs this,
 * because that user's npm and apt are configured for a mirror. Building from the cache then needs no network.
 */
import { access, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Apt } from './apt.ts';
import { type DebianPackage, type Lock } from './lock.ts';
import { digestOf } from './program.ts';

const FetchedPackage = z.object({
  name: z.string(),
  version: z.string(),
  sha256: z.string(),
  pinned: z.boolean(),
});
const Manifest = z.object({ key: z.string(), suite: z.string(), packages: z.array(FetchedPackage) });

/** A package in the cache. `pinned`: the lock names this very version. */
export type FetchedPackage = z.infer<typeof FetchedPackage>;
export type Manifest = z.infer<typeof Manifest>;

export type Say = (line: string) => void;

/** Returns the suite of this machine as the lock names it: `debian-bookworm`. */
export async function hostSuite(): Promise<string> {
  return suiteOf(await readFile('/etc/os-release', 'utf8'));
}

export function suiteOf(osRelease: string): string {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}="?([^"\n]*)"?$`, 'm').exec(osRelease)?.[1];
  return `${field('ID') ?? 'unknown'}-${field('VERSION_CODENAME') ?? 'unknown'}`;
}

export const debPath = (cache: string, sha256: string): string => join(cache, 'debs', `${sha256}.deb`);
const manifestPath = (cache: string, suite: string): string => join(cache, `fetched-${suite}.json`);

/** Reads the list of packages that were fetched for this machine's suite. Throws when there is none. */
export async function readManifest(cache: string, suite: string): Promise<Manifest> {
  try {
    return Manifest.parse(JSON.parse(await readFile(manifestPath(cache, suite), 'utf8')));
  } catch (cause) {
    throw new Error(
      'the inputs of the runtime images are not in the cache: run: node runtime-images/build.ts fetch',
      { cause },
    );
  }
}

/** Brings the Debian packages of the base into the cache. */
export async function fetchDebian(lock: Lock, suite: string, cache: string, say: Say): Promise<void> {
  await mkdir(join(cache, 'debs'), { recursive: true });
  const key = digestOf([lock.debian, suite]);
  try {
    const manifest = await readManifest(cache, suite);
    await Promise.all(manifest.packages.map(({ sha256 }) => access(debPath(cache, sha256))));
    if (manifest.key === key) return;
  } catch {
    // Not fetched yet, or not all of it.
  }
  let packages: FetchedPackage[];
  try {
    packages = await fetchWith(new Apt(), lock, suite, cache);
  } catch {
    say('note: the package lists of this machine are missing or old: fetching fresh ones into the cache');
    packages = await fetchWith(await Apt.refreshed(join(cache, 'apt')), lock, suite, cache);
  }
  const other = packages.filter(({ pinned }) => !pinned);
  if (other.length > 0) {
    const names = other.map(({ name, version }) => `${name} ${version}`).join(', ');
    say(`note: not in the lock for ${suite}, so apt's own versions and checks are used: ${names}`);
  }
  await writeFile(
    manifestPath(cache, suite),
    `${JSON.stringify({ key, suite, packages } satisfies Manifest, null, 2)}\n`,
  );
}

/**
 * Fetches the pinned packages, or apt's own choice: mirrors drop a version when a newer one appears, and a suite may not be in
 * the lock.
 */
async function fetchWith(apt: Apt, lock: Lock, suite: string, cache: string): Promise<FetchedPackage[]> {
  const chosen = await choose(apt, lock, suite);
  const missing: FetchedPackage[] = [];
  for (const item of chosen) if (!(await exists(debPath(cache, item.sha256)))) missing.push(item);
  if (missing.length > 0) {
    await inScratch(cache, async (scratch) => {
      const paths = await apt.download(missing, scratch);
      for (const { name, version, sha256 } of missing) {
        const path = paths.get(sha256);
        if (path === undefined)
          throw new Error(`apt fetched a ${name} ${version} whose sha256 is not ${sha256}`);
        await rename(path, debPath(cache, sha256));
      }
    });
  }
  return chosen;
}

async function choose(apt: Apt, lock: Lock, suite: string): Promise<FetchedPackage[]> {
  const pinned = lock.debian.suites[suite];
  if (pinned === undefined) {
    const closure = await apt.closure(lock.debian.roots, lock.debian.without);
    return closure.map((record) => fetched(record, false));
  }
  const names = pinned.map(({ name }) => name);
  const offered = new Set((await apt.versions(names)).map(({ name, sha256 }) => `${name} ${sha256}`));
  const gone = pinned.filter(({ name, sha256 }) => !offered.has(`${name} ${sha256}`));
  if (gone.length === 0) return pinned.map((item) => fetched(item, true));
  const candidates = new Map(
    (await apt.candidates(gone.map(({ name }) => name))).map((item) => [item.name, item]),
  );
  return pinned.map((item) => {
    if (!gone.includes(item)) return fetched(item, true);
    const candidate = candidates.get(item.name);
    if (candidate === undefined) throw new Error(`apt offers no version of ${item.name}`);
    return fetched(candidate, false);
  });
}

function fetched({ name, version, sha256 }: DebianPackage, pinned: boolean): FetchedPackage {
  return { name, version, sha256, pinned };
}

/** Runs `use` with a directory in the cache that is removed afterwards. */
export async function inScratch(cache: string, use: (scratch: string) => Promise<void>): Promise<void> {
  const scratch = await mkdtemp(join(cache, 'fetching-'));
  try {
    await use(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
