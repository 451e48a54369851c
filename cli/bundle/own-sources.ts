/** The author's own sources: an esbuild plugin that edits them for the archive, and remembers what they need besides imports. */
import { readFileSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Loader, Plugin } from 'esbuild';
import type { Node } from 'oxc-parser';
import type { Warning } from './build-error.ts';
import { edit } from './edits.ts';
import { findingsOf, type Findings } from './findings.ts';
import { textOf } from './json-file.ts';
import { renamedEnding } from './needs.ts';
import type { Places } from './places.ts';
import { StaticPaths } from './static-paths.ts';
import { CODE_FILE, parse } from './syntax.ts';

export interface OwnSource extends Findings {
  readonly file: string;
  readonly text: string;
}

export class OwnSources {
  readonly #directory: string;
  readonly #places: Places;
  readonly #direct: ReadonlySet<string>;
  /** Sources of the last build, by path. */
  readonly used = new Map<string, OwnSource>();

  /** `directory`: the function's folder. */
  constructor(directory: string, places: Places) {
    this.#directory = directory;
    this.#places = places;
    this.#direct = directDependencies(directory);
  }

  plugin(): Plugin {
    return {
      name: 'own-sources',
      setup: (build) => {
        build.onLoad({ filter: CODE_FILE }, async ({ path: file, suffix }) => {
          if (suffix !== '' || !this.#isOwn(file)) return undefined;
          const text = await readFile(file, 'utf8');
          const program = parse(file, text);
          if (!program) return undefined;
          const values = new StaticPaths(file, program, this.#directory);
          const found = findingsOf(program, values, this.#directory, this.#direct);
          this.used.set(file, { file, text, ...found });
          const edited = edit(text, program, values, this.#places.of(file), this.#renamed(found));
          if (!edited.hasChanged()) return undefined;
          return { contents: withMap(edited, file), loader: loaderOf(file) };
        });
      },
    };
  }

  /** Warning at an offset of a source. */
  warning(source: OwnSource, at: number, text: string): Warning {
    const before = source.text.slice(0, at).split('\n');
    const file = path.relative(this.#directory, source.file);
    return { text, location: { file, line: before.length, column: before.at(-1)?.length ?? 0 } };
  }

  /** Literals that name a module which has another name in the archive, and the ending that is added. */
  #renamed({ paths }: Findings): ReadonlyMap<Node, string> {
    const renamed = new Map<Node, string>();
    for (const { path: file, open, use, tail } of paths) {
      if (open || use === 'data' || !tail || !CODE_FILE.test(file) || !this.#places.isKept(file)) continue;
      if (statSync(file, { throwIfNoEntry: false })?.isFile()) renamed.set(tail, renamedEnding(file));
    }
    return renamed;
  }

  /** Code below node_modules is a package's, except for packages that are bundled from their sources. */
  #isOwn(file: string): boolean {
    return !/[\\/]node_modules[\\/]/.test(file) || this.#places.packageOf(file) !== undefined;
  }
}

/** The map makes the lines and columns of an edited source those of the file on disk. */
function withMap(edited: { toString(): string; generateMap: MapMaker }, file: string): string {
  const map = edited.generateMap({ source: path.basename(file), hires: 'boundary', includeContent: true });
  return `${edited.toString()}\n//# sourceMappingURL=${map.toUrl()}`;
}

type MapMaker = (options: { source: string; hires: 'boundary'; includeContent: boolean }) => {
  toUrl(): string;
};

export function loaderOf(file: string): Loader {
  const extension = path.extname(file);
  if (extension === '.tsx' || extension === '.jsx') return extension === '.tsx' ? 'tsx' : 'jsx';
  return extension.endsWith('ts') ? 'ts' : 'js';
}

/** Names in `dependencies` and `optionalDependencies` of the nearest package.json. */
function directDependencies(directory: string): ReadonlySet<string> {
  for (let at = directory; ; at = path.dirname(at)) {
    try {
      const json: unknown = JSON.parse(textOf(readFileSync(path.join(at, 'package.json'))));
      const { dependencies, optionalDependencies } = json as Record<string, object | undefined>;
      return new Set([...Object.keys(dependencies ?? {}), ...Object.keys(optionalDependencies ?? {})]);
    } catch {
      if (at === path.dirname(at)) return new Set();
    }
  }
}
