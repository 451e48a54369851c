/** Settings of TypeScript that a source has, also where tsconfig.json only refers to other projects. */
import path from 'node:path';
import {
  createFilesMatcher,
  createPathsMatcher,
  getTsconfig,
  parseTsconfig,
  type TsConfigResult,
} from 'get-tsconfig';

export type CompilerOptions = NonNullable<TsConfigResult['config']['compilerOptions']>;

export class TypeScriptSettings {
  /** Parsed files, by path. A bundler that lives on forgets them before each run. */
  readonly #cache = new Map<string, unknown>();
  readonly #found = new Map<string, TsConfigResult | undefined>();

  forget(): void {
    this.#cache.clear();
    this.#found.clear();
  }

  /** The configuration of the project that a source belongs to; undefined where there is none. */
  of(file: string): TsConfigResult | undefined {
    if (this.#found.has(file)) return this.#found.get(file);
    const nearest = getTsconfig(path.dirname(file), 'tsconfig.json', this.#cache as never) ?? undefined;
    const found = nearest && (this.#referred(nearest, file) ?? nearest);
    this.#found.set(file, found);
    return found;
  }

  /** Does the bundler not find this configuration by itself? */
  isReferred(file: string): boolean {
    const found = this.of(file);
    return found !== undefined && path.basename(found.path) !== 'tsconfig.json';
  }

  optionsOf(file: string): CompilerOptions {
    return this.of(file)?.config.compilerOptions ?? {};
  }

  /** Absolute paths that an import may stand for by `paths`, or by `rootDirs` where it is relative. */
  candidates(specifier: string, importer: string): string[] {
    const found = this.of(importer);
    if (!found) return [];
    if (!/^\.\.?\//.test(specifier)) return createPathsMatcher(found)?.(specifier) ?? [];
    const folder = path.dirname(found.path);
    const roots = (found.config.compilerOptions?.rootDirs ?? []).map((root) => path.resolve(folder, root));
    const own = roots.find((root) => importer.startsWith(root + path.sep));
    if (own === undefined) return [];
    const wanted = path.relative(own, path.resolve(path.dirname(importer), specifier));
    return roots.filter((root) => root !== own).map((root) => path.join(root, wanted));
  }

  /** The first referred project that has the source among its files, unless the nearest one has it. */
  #referred(nearest: TsConfigResult, file: string, seen = new Set<string>()): TsConfigResult | undefined {
    const { references = [] } = nearest.config;
    if (seen.size === 0 && (references.length === 0 || createFilesMatcher(nearest)(file))) return undefined;
    for (const { path: place } of references) {
      const at = path.resolve(path.dirname(nearest.path), place);
      const target = at.endsWith('.json') ? at : path.join(at, 'tsconfig.json');
      if (seen.has(target)) continue;
      seen.add(target);
      try {
        const found: TsConfigResult = { path: target, config: parseTsconfig(target, this.#cache as never) };
        if (createFilesMatcher(found)(file)) return found;
        const deeper = this.#referred(found, file, seen);
        if (deeper) return deeper;
      } catch {
        // A reference to a project that is not there says nothing about this source.
      }
    }
    return undefined;
  }
}
