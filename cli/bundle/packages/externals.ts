/** The packages that stay files beside the bundle, and the esbuild plugin that leaves them out of it. */
import { createHash } from 'node:crypto';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import type { OnResolveArgs, OnResolveResult, Plugin, PluginBuild } from 'esbuild';
import type { Root } from './closure.ts';
import { ASKED } from '../terms/names.ts';
import { packageNameOf } from '../terms/package-name.ts';
import { isNative } from './package-files.ts';
import { findPackage, isWorkspace, packageOfFile, type Package } from './packages.ts';
import { slashes, type Places } from '../reading/places.ts';
import { TYPESCRIPT_FILE } from '../reading/syntax.ts';

/** Folder in the archive for versions of packages beside the one at the top. */
const VERSIONS = 'node_modules/.versions';

/** An import of a package that stays files. */
export interface ExternalImport {
  readonly specifier: string;
  /** Folder from which it is resolved. */
  readonly from: string;
}

export class Externals {
  readonly #directory: string;
  readonly #places: Places;
  /** Is a package never to be packed, by `packages` in offshoot.json? */
  readonly #isExcluded: (name: string) => boolean;
  /** Folders of packages found not to survive bundling. */
  readonly #unbundlable = new Set<string>();
  /** Packages of the workspace, by folder. */
  readonly #workspace = new Map<string, Package>();
  /** Folder of a package → its folder in the archive, where another version of it lies at the top. */
  readonly #apart = new Map<string, string>();
  /** Packages that the last build left out, by folder. */
  readonly used = new Map<string, Package>();
  /** Imports of them. */
  readonly imports: ExternalImport[] = [];
  /** Packages that would stay files, but hold TypeScript, which Node compiles in no package: bundled, with their files beside. */
  readonly fromSource = new Map<string, Package>();

  constructor(directory: string, places: Places, isExcluded: (name: string) => boolean) {
    this.#directory = directory;
    this.#places = places;
    this.#isExcluded = isExcluded;
  }

  /** Before a build. */
  forget(): void {
    this.used.clear();
    this.imports.length = 0;
  }

  /** Leaves out, from now on, the packages that these files belong to; false when there is no new one among them. */
  leaveOut(files: readonly string[], directory: string): boolean {
    const before = this.#unbundlable.size;
    for (const file of files) {
      const found = this.#ownerOf(path.resolve(directory, file));
      if (found) this.#unbundlable.add(found.directory);
    }
    return this.#unbundlable.size > before;
  }

  /** Gives each version of a package a place of its own; false when that has changed no place. */
  keepApart(): boolean {
    const before = JSON.stringify([...this.#apart]);
    this.#apart.clear();
    for (const [name, versions] of Map.groupBy(this.used.values(), (found) => found.name)) {
      if (versions.length < 2) continue;
      // The function's own version lies at the top, where modules that only the run knows are found.
      const first = findPackage(name, this.#directory)?.directory ?? versions[0]?.directory;
      for (const { directory, version } of versions.toSorted((a, b) =>
        a.directory < b.directory ? -1 : 1,
      )) {
        if (directory === first) continue;
        const place = createHash('sha256').update(this.#places.of(directory)).digest('hex').slice(0, 8);
        // Below a node_modules of its own, so that it finds itself by its name.
        this.#apart.set(directory, `${VERSIONS}/${version}-${place}/node_modules/${name}`);
      }
    }
    return JSON.stringify([...this.#apart]) !== before;
  }

  /** The packages that the bundle imports, and their places. */
  roots(): Root[] {
    return [...this.used.values()].map((found) => ({
      to: this.#apart.get(found.directory) ?? `node_modules/${found.name}`,
      package: found,
    }));
  }

  /** Is a file one of a package, installed or of the workspace? */
  isOfPackage(file: string): boolean {
    return this.#ownerOf(file) !== undefined;
  }

  /**
   * `assets`: endings of files that can be put into the archive whatever the rest of their package needs. `output`: path of the
   * bundled module in the archive.
   */
  plugin(assets: readonly string[], output: string): Plugin {
    return {
      name: 'packages-that-stay-files',
      setup: (build) => {
        build.onResolve({ filter: /^[^./\\#]/ }, async (args) => {
          if (args.pluginData === ASKED || args.kind === 'entry-point') return undefined;
          const name = packageNameOf(args.path);
          if (name === undefined || isBuiltin(args.path)) return undefined;
          if (assets.includes(path.extname(args.path))) return undefined;
          if (this.#isExcluded(name)) return { path: args.path, external: true };
          const found = findPackage(name, args.resolveDir);
          return found && (await this.#place(build, args, found, output));
        });
      },
    };
  }

  async #place(
    build: PluginBuild,
    args: OnResolveArgs,
    found: Package,
    output: string,
  ): Promise<OnResolveResult | undefined> {
    const { directory, name } = found;
    if (isWorkspace(found)) {
      this.#workspace.set(directory, found);
      this.#places.addPackage(name, directory);
    }
    if (!(this.#unbundlable.has(directory) || isNative(found))) return undefined;
    const { importer, resolveDir, kind } = args;
    const resolved = await build.resolve(args.path, { importer, resolveDir, kind, pluginData: ASKED });
    if (TYPESCRIPT_FILE.test(resolved.path)) {
      this.#places.addPackage(name, directory);
      this.fromSource.set(directory, found);
      return undefined;
    }
    this.used.set(directory, found);
    this.imports.push({ specifier: args.path, from: resolveDir });
    const apart = this.#apart.get(directory);
    if (apart === undefined) return { path: args.path, external: true };
    // By its file: the bundle lies where the name leads to the other version.
    const file = `${apart}/${slashes(path.relative(directory, resolved.path))}`;
    const relative = path.posix.relative(path.posix.dirname(output), file);
    return { path: relative.startsWith('.') ? relative : `./${relative}`, external: true };
  }

  #ownerOf(file: string): Package | undefined {
    const installed = packageOfFile(file);
    if (installed) return findPackage(installed.name, installed.from);
    for (let at = path.dirname(file); at !== path.dirname(at); at = path.dirname(at)) {
      const found = this.#workspace.get(at);
      if (found) return found;
    }
    return undefined;
  }
}
