/**
 * Makes the runtime images. `fetch` brings the inputs into the cache. `build` makes the images from the cache, run as the service
 * user, who owns them. `--update-lock` pins the versions in this machine's package lists.
 *
 *     node runtime-images/build.ts fetch
 *     node runtime-images/build.ts build [--inputs HASH]
 *     node runtime-images/build.ts --update-lock
 */
import { lstat, mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Apt } from './apt.ts';
import { debPath, fetchAll, hostSuite, nodeArchivePath, readManifest, type Say } from './fetch.ts';
import { bundleBootstrap, makeImage, reclaim, unpackNode } from './image.ts';
import { type Lock, readLock, writeLock } from './lock.ts';
import { hashFile } from './program.ts';
import { baseKey, makeBase } from './rootfs.ts';

export interface BuildOptions {
  readonly lock: Lock;
  readonly cache: string;
  /** Directory of the images and their shared parts. */
  readonly images: string;
  /** TypeScript entry of the bootstrap. */
  readonly bootstrap: string;
  /** The native addon that the bootstrap loads. */
  readonly zygote: string;
  readonly say: Say;
}

/** Makes every image of the lock that does not exist yet. Returns their directories by name. */
export async function buildImages(options: BuildOptions): Promise<Map<string, string>> {
  const { lock, cache, images, say } = options;
  const { suite, packages } = await readManifest(cache, await hostSuite());
  await mkdir(images, { recursive: true });
  const bootstrap = await bundleBootstrap(options.bootstrap);

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
  for (const [name, { version, integrity }] of Object.entries(lock.node)) {
    const directory = `node-${version}`;
    keep.add(directory);
    const node = join(images, directory, 'node');
    await unpackVerifiedNode(nodeArchivePath(cache, version), integrity, node);
    const parts = {
      name,
      base,
      baseKey: key,
      packages,
      node,
      nodeVersion: version,
      nodeIntegrity: integrity,
    };
    made.set(name, await makeImage({ ...parts, bootstrap, zygote: options.zygote }, images));
    say(`${name}: ${made.get(name)}`);
  }
  for (const name of await reclaim(images, keep)) say(`removed ${name}, which nothing uses any more`);
  return made;
}

async function unpackVerifiedNode(archive: string, integrity: string, node: string): Promise<void> {
  if ((await lstat(node).catch(() => undefined)) !== undefined) return;
  const found = `sha512-${(await hashFile(archive, 'sha512')).toString('base64')}`;
  if (found !== integrity)
    throw new Error(`${archive} is damaged: remove it, then run: node runtime-images/build.ts fetch`);
  await unpackNode(archive, node);
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
  const checkout = fileURLToPath(new URL('..', import.meta.url));
  const cache = process.env['OFFSHOOT_CACHE'] ?? join(homedir(), '.cache/offshoot');
  const images = join(process.env['OFFSHOOT_STATE'] ?? join(homedir(), '.local/state/offshoot'), 'images');
  const lock = await readLock();

  if (values['update-lock'] === true) {
    await mkdir(cache, { recursive: true });
    await writeLock(await updateLock(lock, cache));
    say('images.lock.json is up to date; look at the difference, then commit it');
  } else if (positionals[0] === 'fetch') {
    await fetchAll(lock, cache, say);
  } else if (positionals[0] === 'build') {
    const bootstrap = join(checkout, 'runtime-images/node/bootstrap/main.ts');
    const zygote = join(checkout, 'worker/native/build/zygote.node');
    await buildImages({ lock, cache, images, bootstrap, zygote, say });
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
