/**
 * Builds of the attack suite, in the state directory: the attack program and addon, and copies of the runtime image in
 * which one layer of the isolation is left out. The product cannot switch a layer off: that takes another build of
 * zygote.node or of the bootstrap, which the product's build refuses to make (worker/native/Makefile).
 */
import { execFile } from 'node:child_process';
import { mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build, type Plugin } from 'esbuild';

const run = promisify(execFile);
const checkout = fileURLToPath(new URL('../..', import.meta.url));

function workshop(): string {
  const state = process.env['OFFSHOOT_STATE'];
  if (!state) throw new Error('OFFSHOOT_STATE is not set; run the tests by: npm run test:security');
  return join(state, 'security');
}

/** Builds the attacks in C; returns the directory of `attack` and `attack.node`. */
export async function buildAttacks(): Promise<string> {
  const directory = join(workshop(), 'attacks');
  await mkdir(directory, { recursive: true });
  await run('make', ['-C', join(checkout, 'test/security/native'), `BUILD=${directory}`]);
  return directory;
}

/** Layers that a build of the native parts can leave out: all of worker/native/sandbox/layers.h, as K0 checks. */
export const NATIVE_LAYERS = [
  'SECCOMP',
  'DISTINCT_UID',
  'CLOSE_RANGE',
  'NETNS',
  'PRIVILEGE_DROP',
  'LANDLOCK',
  'AUDIT',
] as const;
export type NativeLayer = (typeof NATIVE_LAYERS)[number];

/** An image whose zygote leaves out layers. Returns its root. */
export async function imageWithout(...layers: NativeLayer[]): Promise<string> {
  const name = layers.join('-');
  const directory = join(workshop(), `without-${name.toLowerCase()}`);
  await mkdir(directory, { recursive: true });
  const addon = join(directory, 'runtimes/zygote.node');
  await run('make', [
    '-C',
    join(checkout, 'worker/native'),
    `BUILD=${directory}`,
    `WITHOUT=${layers.join(' ')}`,
    addon,
  ]);
  return await copyOfImage(name, { 'zygote.node': await readFile(addon) });
}

/**
 * An image whose sandboxes do not refresh their randomness, and whose zygote has used it: forks of a runtime without
 * care.
 */
export async function imageWithoutReseed(): Promise<string> {
  const careless: Plugin = {
    name: 'careless',
    setup(building) {
      building.onLoad({ filter: /become-sandbox\.ts$/ }, async ({ path }) => ({
        contents: replaceOnce(await readFile(path, 'utf8'), '  refreshRandomness(addon);\n', ''),
        loader: 'ts',
      }));
      building.onLoad({ filter: /bootstrap\/main\.ts$/ }, async ({ path }) => ({
        contents: `Math.random(); crypto.randomUUID();\n${await readFile(path, 'utf8')}`,
        loader: 'ts',
      }));
    },
  };
  const { outputFiles } = await build({
    entryPoints: [join(checkout, 'runtime-images/node/bootstrap/main.ts')],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    external: ['*.node'],
    logLevel: 'silent',
    plugins: [careless],
  });
  const [bundle] = outputFiles;
  if (!bundle) throw new Error('esbuild made nothing of the bootstrap');
  return await copyOfImage('RESEED', { 'bootstrap.cjs': bundle.contents });
}

function replaceOnce(text: string, old: string, by: string): string {
  const parts = text.split(old);
  if (parts.length !== 2) throw new Error(`"${old.trim()}" is there ${parts.length - 1} times, not once`);
  return parts.join(by);
}

/** A copy of node26's image by hard links, in which some of the platform's own files are others. */
async function copyOfImage(name: string, files: Readonly<Record<string, Uint8Array>>): Promise<string> {
  const state = join(workshop(), '..');
  const image = await realpath(join(state, 'images/node26'));
  const copy = join(workshop(), `image-without-${name.toLowerCase()}`);
  await rm(copy, { recursive: true, force: true });
  await run('cp', ['-al', '--', image, copy]);
  for (const [file, bytes] of Object.entries(files)) {
    const path = join(copy, 'opt/offshoot', file);
    // By rename: a write would go through the hard link into the product's image.
    await writeFile(`${path}.new`, bytes, { mode: 0o755 });
    await rename(`${path}.new`, path);
  }
  return copy;
}
