/**
 * Assembles one runtime image: the Debian base and a Node, shared by hard links, and the platform's own files in /opt/offshoot.
 * An image's name contains the hash of its content; a link with the plain name points to the current image.
 */
import { createHash } from 'node:crypto';
import {
  chmod,
  copyFile,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import type { FetchedPackage } from './fetch.ts';
import { digestOf, run } from './program.ts';

/** Version of the assembly below; raise it when the assembly changes. */
const LAYOUT = 1;
const DAY_MS = 24 * 60 * 60 * 1000;

export interface ImageParts {
  readonly name: string;
  /** Directory of the Debian base, and the key of its content. */
  readonly base: string;
  readonly baseKey: string;
  readonly packages: readonly FetchedPackage[];
  /** Path of the `node` program, and where it came from. */
  readonly node: string;
  readonly nodeVersion: string;
  readonly nodeIntegrity: string;
  /** The platform's own files in the image, by name. */
  readonly bootstrap: ReadonlyMap<string, Uint8Array>;
  /** The native addon of the zygote. */
  readonly zygote: string;
}

/**
 * Bundles the bootstrap into one CommonJS file: a fork has no use for a module graph, and one read is the fastest start. Returns
 * it with the sample functions for the rehearsal and the warm-up, by name.
 */
export async function bundleBootstrap(entry: string): Promise<Map<string, Uint8Array>> {
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

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Makes the image unless it exists, and points its plain name to it. Returns the image's directory. */
export async function makeImage(parts: ImageParts, images: string): Promise<string> {
  const zygote = await readZygote(parts.zygote);
  const content = {
    layout: LAYOUT,
    base: parts.baseKey,
    node: parts.nodeIntegrity,
    bootstrap: sha256(Buffer.concat([...parts.bootstrap.values()])),
    zygote: sha256(zygote),
  };
  const digest = digestOf(content);
  const directory = `${parts.name}-${digest.slice(0, 16)}`;
  const target = join(images, directory);
  if (!(await isThere(target))) {
    const scratch = `${target}.new`;
    await rm(scratch, { recursive: true, force: true });
    await run('cp', ['-al', '--', parts.base, scratch]);
    await link(parts.node, join(scratch, 'usr/bin/node'));
    const ours = join(scratch, 'opt/offshoot');
    for (const [name, bytes] of parts.bootstrap) await writeFile(join(ours, name), bytes);
    await copyFile(parts.zygote, join(ours, 'zygote.node'));
    await chmod(join(ours, 'zygote.node'), 0o755);
    await writeFile(
      join(ours, 'image.json'),
      `${JSON.stringify(describe(parts, digest, content), null, 2)}\n`,
    );
    await assertComplete(scratch);
    await rename(scratch, target);
  }
  await pointTo(join(images, parts.name), directory);
  return target;
}

function describe(parts: ImageParts, digest: string, content: Record<string, string | number>): object {
  const { name, nodeVersion, packages } = parts;
  return { name, digest, nodeVersion, content, packages };
}

async function readZygote(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new Error(`${path} is not there: the native parts are not built; run: make -C worker/native`, {
      cause,
    });
  }
}

/**
 * Checks that every library that the image's programs need comes from the image. The image's own loader lists them, on any host.
 */
async function assertComplete(root: string): Promise<void> {
  const loader = join(root, 'usr/lib64/ld-linux-x86-64.so.2');
  const libraries = join(root, 'usr/lib/x86_64-linux-gnu');
  for (const program of ['usr/bin/node', 'usr/bin/sh', 'usr/bin/ls', 'opt/offshoot/zygote.node']) {
    const listed = await run(loader, [
      '--inhibit-cache',
      '--library-path',
      libraries,
      '--list',
      join(root, program),
    ]);
    const foreign = listed.split('\n').filter((line) => line.includes('=>') && !line.includes(root));
    if (foreign.length > 0)
      throw new Error(`${program} needs libraries that the image lacks: ${foreign.join('; ')}`);
  }
}

/** Replaces a link by rename, so that the name always leads somewhere. */
async function pointTo(name: string, directory: string): Promise<void> {
  if ((await readlink(name).catch(() => '')) === directory) return;
  const next = `${name}.next`;
  await rm(next, { force: true });
  await symlink(directory, next);
  await rename(next, name);
}

/**
 * Removes images and bases that no link points to. Those younger than a day stay, and so do those that a process still has
 * mounted: a worker keeps its zygotes on the old image until it replaces them.
 */
export async function reclaim(images: string, keep: ReadonlySet<string>): Promise<string[]> {
  const entries = await readdir(images, { withFileTypes: true });
  const linked = await Promise.all(
    entries.filter((entry) => entry.isSymbolicLink()).map((entry) => readlink(join(images, entry.name))),
  );
  const candidates = entries.filter(
    (entry) => entry.isDirectory() && !linked.includes(entry.name) && !keep.has(entry.name),
  );
  if (candidates.length === 0) return [];
  const mounts = await mountTables();
  const removed: string[] = [];
  for (const { name } of candidates) {
    const { ctimeMs } = await lstat(join(images, name));
    if (Date.now() - ctimeMs < DAY_MS || mounts.some((table) => table.includes(`/${name}`))) continue;
    await rm(join(images, name), { recursive: true, force: true });
    removed.push(name);
  }
  return removed;
}

/** The mount tables of all processes that we may read, our own among them. */
async function mountTables(): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const tables = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => '')),
  );
  return [...new Set(tables)];
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** Unpacks the `node` program of an npm archive to `target`, unless it exists. */
export async function unpackNode(archive: string, target: string): Promise<void> {
  if (await isThere(target)) return;
  const scratch = `${target}.new`;
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true });
  await run('tar', ['-xzf', archive, '-C', scratch, '--no-same-owner', 'package/bin/node']);
  const node = join(scratch, 'package/bin/node');
  await chmod(node, 0o755);
  await mkdir(join(target, '..'), { recursive: true });
  await rename(node, target);
  await rm(scratch, { recursive: true, force: true });
}
