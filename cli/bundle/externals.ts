/** The packages that stay files beside the bundle, and the esbuild plugin that leaves them out of it. */
import { isBuiltin } from 'node:module';
import path from 'node:path';
import type { Plugin } from 'esbuild';
import { findPackage, isNative, packageNameOf, packageOfFile, type Package } from './packages.ts';

export class Externals {
  /** Folders of packages found not to survive bundling. */
  readonly #unbundlable = new Set<string>();
  /** Packages that the last build left out, by folder. */
  readonly used = new Map<string, Package>();

  /** Leaves out, from now on, the packages that these files belong to; false when there is no new one among them. */
  leaveOut(files: readonly string[], directory: string): boolean {
    const before = this.#unbundlable.size;
    for (const file of files) {
      const owner = packageOfFile(path.resolve(directory, file));
      const found = owner && findPackage(owner.name, owner.from);
      if (found) this.#unbundlable.add(found.directory);
    }
    return this.#unbundlable.size > before;
  }

  /** `assets`: endings of files that can be put into the archive whatever the rest of their package needs. */
  plugin(assets: readonly string[]): Plugin {
    return {
      name: 'packages-that-stay-files',
      setup: (build) => {
        build.onResolve({ filter: /^[^./\\#]/ }, (args) => {
          const name = packageNameOf(args.path);
          if (name === undefined || isBuiltin(args.path)) return undefined;
          if (assets.includes(path.extname(args.path))) return undefined;
          const found = findPackage(name, args.resolveDir);
          if (!found || !(this.#unbundlable.has(found.directory) || isNative(found))) return undefined;
          this.used.set(found.directory, found);
          return { path: args.path, external: true };
        });
      },
    };
  }
}
