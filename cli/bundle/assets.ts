/**
 * Imported files of bytes. They go into the archive as files, and the bundle reads them when it is loaded: as text inside
 * of JavaScript they would take a third more room, time to parse, and memory twice.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Plugin } from 'esbuild';

/** Endings of files that are imported as a Uint8Array. `docs/functions.md` lists them for users. */
// oxfmt-ignore
export const BINARY_FILES = [
  '.wasm', '.bin', '.png', '.jpg', '.jpeg', '.gif', '.webp', '.avif', '.ico', '.pdf',
  '.ttf', '.otf', '.woff', '.woff2',
];

const FOLDER = 'assets';

export class Assets {
  /** Path in the archive → contents, of the last build. */
  readonly used = new Map<string, Uint8Array>();

  plugin(): Plugin {
    const extensions = BINARY_FILES.map((extension) => extension.slice(1)).join('|');
    return {
      name: 'files-of-bytes',
      setup: (build) => {
        build.onLoad({ filter: new RegExp(`\\.(?:${extensions})$`) }, async (args) => {
          const contents = await readFile(args.path);
          const { name, ext } = path.parse(args.path);
          // Named by its contents: two files of the same name do not meet, and the same file is there once.
          const digest = createHash('sha256').update(contents).digest('hex').slice(0, 12);
          const file = `${FOLDER}/${name}-${digest}${ext}`;
          this.used.set(file, contents);
          return { contents: moduleOf(file), loader: 'js' };
        });
      },
    };
  }
}

/** A buffer of its own for each file, since some users of bytes, such as WebAssembly, look at the whole buffer. */
function moduleOf(file: string): string {
  return `import { readFileSync } from 'node:fs';
const { buffer, byteOffset, byteLength } = readFileSync(offshootPlace(${JSON.stringify(file)}));
export default new Uint8Array(buffer.slice(byteOffset, byteOffset + byteLength));
`;
}
