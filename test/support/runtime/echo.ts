/**
 * The runtime of test/runtime/echo.c as the platform has any other: an image, a row in the table of runtimes, a builder. The rows are
 * added to the modules of each process when they are loaded (add-echo.ts), so the product has no switch for this.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, realpath, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { makeImage } from '../../../runtime-images/image.ts';
import type { NativeLayer } from '../../security/builds.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));
const ADD_ECHO = fileURLToPath(new URL('add-echo.ts', import.meta.url));

/** Environment of a process that knows the runtime `echo`. */
export const WITH_ECHO = { NODE_OPTIONS: `--import=${ADD_ECHO}` };

export interface EchoImages {
  /** A directory of images: those of the set-up, and `echo`. */
  readonly directory: string;
  /** Makes an image of a runtime that tries something (tries[] in echo.c), or lacks layers of the isolation. Returns its root. */
  image(tries?: readonly string[], without?: readonly NativeLayer[]): Promise<string>;
  close(): Promise<void>;
}

/** Builds the runtime and its image. */
export async function openEchoImages(): Promise<EchoImages> {
  const state = process.env['OFFSHOOT_STATE'];
  if (!state) throw new Error('OFFSHOOT_STATE is not set; run the tests by: npm test');
  // Beside the images of the set-up, with which it shares the base by hard links.
  const directory = await mkdtemp(join(state, 'echo-'));
  const images = join(state, 'images');
  // The base that the images of the set-up have; an older one may still be there.
  const facts = JSON.parse(await readFile(join(images, 'node26/opt/offshoot/image.json'), 'utf8')) as {
    content: { base: string };
  };
  const base = `base-${facts.content.base}`;
  const programs = new Map<string, Promise<Uint8Array>>();
  const image = async (
    tries: readonly string[] = [],
    without: readonly NativeLayer[] = [],
  ): Promise<string> => {
    const build = join(directory, `build-${without.join('-')}`);
    const bytes = programs.get(build) ?? buildEcho(build, without);
    programs.set(build, bytes);
    return await makeImage(
      {
        name: ['echo', ...tries, ...without].join('-'),
        base: join(images, base),
        baseKey: base.slice('base-'.length),
        packages: [],
        language: {
          program: ['/opt/offshoot/echo', ...tries],
          version: '1',
          shared: [],
          own: new Map([['echo', { bytes: await bytes, executable: true }]]),
        },
      },
      directory,
    );
  };
  await image();
  for (const name of ['node26', 'node24'])
    await symlink(await realpath(join(images, name)), join(directory, name));
  return { directory, image, close: () => rm(directory, { recursive: true, force: true }) };
}

async function buildEcho(build: string, without: readonly NativeLayer[]): Promise<Uint8Array> {
  await mkdir(build);
  const program = join(build, 'echo');
  const layers = without.length > 0 ? [`WITHOUT=${without.join(' ')}`] : [];
  await promisify(execFile)('make', [
    '-s',
    '-C',
    join(checkout, 'test/runtime'),
    `BUILD=${build}`,
    ...layers,
    program,
  ]);
  return await readFile(program);
}
