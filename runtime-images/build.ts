/**
 * Makes the runtime images. `fetch` brings the inputs into the cache. `build` makes the images from the cache, run as the service
 * user, who owns them. `--update-lock` pins the versions in this machine's package lists.
 *
 *     node runtime-images/build.ts fetch
 *     node runtime-images/build.ts build [--inputs HASH]
 *     node runtime-images/build.ts --update-lock
 */
import { lstat, mkdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { languageOf, RUNTIMES, type Language as Name } from '#contract/functions/runtimes.ts';
import { Apt } from './apt.ts';
import { debPath, fetchDebian, hostSuite, readManifest, type Say } from './fetch.ts';
import { makeImage, reclaim } from './image.ts';
import type { Language } from './language.ts';
import { type Lock, readLock, writeLock } from './lock.ts';
import { node } from './node/parts.ts';
import { hashFile } from './program.ts';
import { baseKey, makeBase } from './rootfs.ts';

const LANGUAGES: Readonly<Record<Name, Language>> = { node };

const checkout = fileURLToPath(new URL('..', import.meta.url));

export interface BuildOptions {
  readonly lock: Lock;
  readonly cache: string;
  /** Directory of the images and their shared parts. */
  readonly images: string;
  readonly say: Say;
}

/** Makes every runtime's image that does not exist yet. Returns their directories by name. */
export async function buildImages(options: BuildOptions): Promise<Map<string, string>> {
  const { lock, cache, images, say } = options;
  const { suite, packages } = await readManifest(cache, await hostSuite());
  await mkdir(images, { recursive: true });
  const key = baseKey(suite, packages);
  const base = join(images, `base-${key}`);
  if ((await lstat(base).catch(() => undefined)) === undefined) {
    for (const { name, version, sha256 } of packages) {
      const found = (await hashFile(debPath(cache, sha256), 'sha256')).toString('hex');
      if (found !== sha256)
        throw new Error(`${name} ${version} in the cache is damaged: remove ${cache}/debs, then fetch again`);
    }
    await makeBase(base, packages, cache);
    say(`base made from ${packages.length} packages of ${suite}`);
  }

  const made = new Map<string, string>();
  const keep = new Set([`base-${key}`]);
  for (const name of RUNTIMES) {
    const language = await LANGUAGES[languageOf(name)].parts(name, {
      lock,
      cache,
      images,
      native: readNative,
    });
    for (const directory of language.keep) keep.add(directory);
    made.set(name, await makeImage({ name, base, baseKey: key, packages, language: language.parts }, images));
    say(`${name}: ${made.get(name)}`);
  }
  for (const name of await reclaim(images, keep)) say(`removed ${name}, which nothing uses any more`);
  return made;
}

/** Reads a native part of an image. */
export async function readNative(file: string): Promise<Uint8Array> {
  const path = join(checkout, 'worker/native/build/runtimes', file);
  try {
    return await readFile(path);
  } catch (cause) {
    throw new Error(`${path} is not there: the native parts are not built; run: make -C worker/native`, {
      cause,
    });
  }
}

/** Pins the closure that apt offers now for this machine's suite; the other suites stay as they are. */
async function updateLock(lock: Lock, cache: string): Promise<Lock> {
  const apt = await Apt.refreshed(join(cache, 'apt'));
  const closure = await apt.closure(lock.debian.roots, lock.debian.without);
  const pinned = closure.map(({ name, version, sha256 }) => ({ name, version, sha256 }));
  const suites = { ...lock.debian.suites, [await hostSuite()]: pinned };
  return { ...lock, debian: { ...lock.debian, suites } };
}

const say: Say = (line) => void process.stderr.write(`${line}\n`);

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { 'update-lock': { type: 'boolean' }, inputs: { type: 'string' } },
  });
  const cache = process.env['OFFSHOOT_CACHE'] ?? join(homedir(), '.cache/offshoot');
  const images = join(process.env['OFFSHOOT_STATE'] ?? join(homedir(), '.local/state/offshoot'), 'images');
  const lock = await readLock();

  if (values['update-lock'] === true) {
    await mkdir(cache, { recursive: true });
    await writeLock(await updateLock(lock, cache));
    say('images.lock.json is up to date; look at the difference, then commit it');
  } else if (positionals[0] === 'fetch') {
    for (const name of RUNTIMES) await LANGUAGES[languageOf(name)].fetch(name, { lock, cache });
    await fetchDebian(lock, await hostSuite(), cache, say);
  } else if (positionals[0] === 'build') {
    await buildImages({ lock, cache, images, say });
    // The set-up reads this file, so it need not start Node to find that there is nothing to do.
    if (values.inputs !== undefined) await writeFile(join(images, '.inputs'), `${values.inputs}\n`);
  } else {
    say('usage: node runtime-images/build.ts fetch | build [--inputs HASH] | --update-lock');
    process.exitCode = 64;
  }
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
