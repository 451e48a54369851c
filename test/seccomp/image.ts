/**
 * Runtime images whose sandboxes run under another filter. The product has no switch for this, and no native code is
 * built anew: the filter is data in zygote.node, and a copy of the image has other bytes there.
 */
import { execFile } from 'node:child_process';
import { readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Runtime } from '#contract/functions/manifest.ts';
import { filterWithout } from './policy.ts';

const run = promisify(execFile);

/** BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS: unreachable code must still end in a return. */
const NEVER = Buffer.from([0x06, 0, 0, 0, 0, 0, 0, 0x80]);

/** A copy of a runtime's image by hard links. */
export class Image {
  readonly root: string;
  readonly #addon: Buffer;
  /** Where the filter lies in zygote.node. */
  readonly #place: { readonly start: number; readonly bytes: number };

  private constructor(root: string, addon: Buffer, place: { start: number; bytes: number }) {
    this.root = root;
    this.#addon = addon;
    this.#place = place;
  }

  static async copy(runtime: Runtime, directory: string): Promise<Image> {
    const state = process.env['OFFSHOOT_STATE'];
    if (!state) throw new Error('OFFSHOOT_STATE is not set; run the tests by: npm run test:seccomp');
    const root = join(directory, runtime);
    await rm(root, { recursive: true, force: true });
    await run('cp', ['-al', '--', await realpath(join(state, 'images', runtime)), root]);
    const addon = await readFile(join(root, 'opt/offshoot/zygote.node'));
    const filter = await filterWithout([]);
    const start = addon.indexOf(filter);
    if (start < 0 || addon.lastIndexOf(filter) !== start)
      throw new Error('the filter is not in zygote.node as it was compiled, once; run: npm run setup');
    return new Image(root, addon, { start, bytes: filter.length });
  }

  /** From now on, new zygotes have this filter. */
  async use(filter: Buffer): Promise<void> {
    const { start, bytes } = this.#place;
    if (filter.length > bytes)
      throw new RangeError(`a filter of ${filter.length} bytes where there is room for ${bytes}`);
    const addon = Buffer.from(this.#addon);
    addon.fill(NEVER, start, start + bytes);
    filter.copy(addon, start);
    const path = join(this.root, 'opt/offshoot/zygote.node');
    // By rename: a write would go through the hard link into the product's image.
    await writeFile(`${path}.new`, addon, { mode: 0o755 });
    await rename(`${path}.new`, path);
  }
}
