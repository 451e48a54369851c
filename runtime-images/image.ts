/**
 * Assembles one runtime image: the Debian base and the language's own programs, shared by hard links, and the platform's own files in
 * /opt/offshoot. An image's name contains the hash of its content; a link with the plain name points to the current image.
 */
import { createHash } from 'node:crypto';
import { link, lstat, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FetchedPackage } from './fetch.ts';
import { digestOf, run } from './program.ts';

/** Version of the assembly below; raise it when the assembly changes. */
const LAYOUT = 2;
/** Type of a program header, elf(5). */
const PT_DYNAMIC = 2;
const DAY_MS = 24 * 60 * 60 * 1000;

/** Content of an image, whatever its language. */
export interface ImageParts {
  readonly name: string;
  /** Directory of the Debian base, and the key of its content. */
  readonly base: string;
  readonly baseKey: string;
  readonly packages: readonly FetchedPackage[];
  readonly language: LanguageParts;
}

/** Additions of a language to the base. */
export interface LanguageParts {
  /** Program and arguments of the zygote, inside the image. */
  readonly program: readonly string[];
  /** Version of the language, for people. */
  readonly version: string;
  /** Files outside of the image that it shares by hard links: path in the image, path of the file, and a key of its content. */
  readonly shared: readonly { readonly to: string; readonly from: string; readonly key: string }[];
  /** The platform's own files, which are written to /opt/offshoot, by name. */
  readonly own: ReadonlyMap<string, OwnFile>;
}

export interface OwnFile {
  readonly bytes: Uint8Array;
  /** It is a program or a shared library, so all libraries that it needs must be in the image. */
  readonly executable: boolean;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Makes the image unless it exists, and points its plain name to it. Returns the image's directory. */
export async function makeImage(parts: ImageParts, images: string): Promise<string> {
  const { program, version, shared, own } = parts.language;
  const content = {
    layout: LAYOUT,
    base: parts.baseKey,
    program,
    shared: shared.map(({ to, key }) => [to, key]),
    own: [...own].map(([name, { bytes }]) => [name, sha256(bytes)]),
  };
  const digest = digestOf(content);
  const directory = `${parts.name}-${digest.slice(0, 16)}`;
  const target = join(images, directory);
  if (!(await isThere(target))) {
    const scratch = `${target}.new`;
    await rm(scratch, { recursive: true, force: true });
    await run('cp', ['-al', '--', parts.base, scratch]);
    for (const { to, from } of shared) await link(from, join(scratch, to));
    const ours = join(scratch, 'opt/offshoot');
    for (const [name, { bytes, executable }] of own) {
      await writeFile(join(ours, name), bytes, { mode: executable ? 0o755 : 0o644 });
    }
    const facts = { name: parts.name, digest, program, version, content, packages: parts.packages };
    await writeFile(join(ours, 'image.json'), `${JSON.stringify(facts, null, 2)}\n`);
    const executables = [...own]
      .filter(([, { executable }]) => executable)
      .map(([name]) => `opt/offshoot/${name}`);
    await assertComplete(scratch, [
      ...shared.map(({ to }) => to),
      'usr/bin/sh',
      'usr/bin/ls',
      'usr/bin/git',
      'usr/bin/curl',
      'usr/bin/ps',
      'usr/bin/openssl',
      ...executables,
    ]);
    await rename(scratch, target);
  }
  await pointTo(join(images, parts.name), directory);
  return target;
}

/**
 * Checks that every library that the image's programs need comes from the image. The image's own loader lists them, on any host.
 */
async function assertComplete(root: string, programs: readonly string[]): Promise<void> {
  const loader = join(root, 'usr/lib64/ld-linux-x86-64.so.2');
  const libraries = join(root, 'usr/lib/x86_64-linux-gnu');
  for (const program of programs) {
    const path = join(root, program);
    if (await isStatic(path)) continue;
    const listed = await run(loader, ['--inhibit-cache', '--library-path', libraries, '--list', path]);
    const foreign = listed.split('\n').filter((line) => line.includes('=>') && !line.includes(root));
    if (foreign.length > 0)
      throw new Error(`${program} needs libraries that the image lacks: ${foreign.join('; ')}`);
  }
}

/** A program without a dynamic section (PT_DYNAMIC) needs no library, and the loader refuses to list any. */
async function isStatic(path: string): Promise<boolean> {
  const bytes = await readFile(path);
  const [table, size, count] = [
    Number(bytes.readBigUInt64LE(32)),
    bytes.readUInt16LE(54),
    bytes.readUInt16LE(56),
  ];
  const types = Array.from({ length: count }, (_, index) => bytes.readUInt32LE(table + index * size));
  return !types.includes(PT_DYNAMIC);
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
