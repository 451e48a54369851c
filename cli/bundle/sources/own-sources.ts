/** The author's own sources: an esbuild plugin that edits them for the archive, and remembers what they need besides imports. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Loader, OnResolveArgs, OnResolveResult, PartialMessage, Plugin, PluginBuild } from 'esbuild';
import type { Node } from 'oxc-parser';
import type { Warning } from '../terms/build-error.ts';
import { compilerNote, wantsMetadata, withMetadata, type Compiled } from '../typescript/decorators.ts';
import { edit } from '../reading/edits.ts';
import { findingsOf, type Findings } from '../reading/findings.ts';
import { statOf } from '../reading/folders.ts';
import { jsxPragma, type JsxProblem } from '../typescript/jsx.ts';
import { directDependencies } from '../packages/packages.ts';
import { ASKED } from '../terms/names.ts';
import { renamedEnding } from '../reading/module-format.ts';
import type { Places } from '../reading/places.ts';
import { StaticPaths } from '../reading/static-paths.ts';
import { CODE_FILE, parse } from '../reading/syntax.ts';
import type { TypeScriptSettings } from '../typescript/tsconfig.ts';

const METADATA = 'tsconfig.json sets emitDecoratorMetadata, which needs a compiler of the project';
const METADATA_NEXT =
  'npm install --save-dev @swc/core (or typescript@5), or compile first and set "entry" to the result, then: offshoot deploy';

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

  readonly #settings: TypeScriptSettings;

  /** `directory`: the function's folder. */
  constructor(directory: string, places: Places, settings: TypeScriptSettings) {
    this.#settings = settings;
    this.#directory = directory;
    this.#places = places;
    this.#direct = directDependencies(directory);
  }

  plugin(): Plugin {
    return {
      name: 'own-sources',
      setup: (build) => {
        build.onResolve({ filter: /.*/ }, (args) => this.#resolve(build, args));
        build.onLoad({ filter: CODE_FILE }, async ({ path: file, suffix }) => {
          if (suffix !== '' || !this.#isOwn(file)) return undefined;
          const text = await readFile(file, 'utf8');
          const program = parse(file, text);
          if (!program) return undefined;
          const values = new StaticPaths(file, program, this.#directory);
          const found = findingsOf(program, values, this.#directory, this.#direct);
          this.used.set(file, { file, text, ...found });
          const edited = edit(text, program, values, this.#places.of(file), this.#renamed(found));
          const options = this.#settings.optionsOf(file);
          const pragma = jsxPragma(file, text, program, options);
          if (typeof pragma === 'object') return { errors: [this.#error(text, file, pragma)] };
          if (pragma !== undefined) edited.prepend(pragma);
          const decorated = wantsMetadata(program, options);
          if (decorated !== undefined) {
            const compiled = withMetadata(edited.toString(), file, options);
            if (compiled) return { contents: compiledText(compiled, file, text), loader: loaderOf(file) };
            const problem = {
              at: decorated,
              text: `${METADATA}: ${compilerNote(file)}`,
              next: METADATA_NEXT,
            };
            return { errors: [this.#error(text, file, problem)] };
          }
          if (!edited.hasChanged()) return undefined;
          return { contents: withMap(edited, file), loader: loaderOf(file) };
        });
      },
    };
  }

  /** An import that only `paths` of a referred project, or `rootDirs`, can resolve. */
  async #resolve(build: PluginBuild, args: OnResolveArgs): Promise<OnResolveResult | undefined> {
    const { importer, resolveDir, kind, pluginData } = args;
    if (pluginData === ASKED || args.namespace !== 'file' || importer === '' || !this.#isOwn(importer))
      return undefined;
    const candidates = this.#settings.candidates(args.path, importer);
    if (candidates.length === 0) return undefined;
    for (const wanted of [args.path, ...candidates]) {
      const found = await build.resolve(wanted, { importer, resolveDir, kind, pluginData: ASKED });
      if (found.errors.length === 0) return wanted === args.path ? undefined : found;
    }
    return undefined;
  }

  /** Warning at an offset of a source. */
  warning(source: OwnSource, at: number, text: string): Warning {
    return { text, location: this.#location(source.text, source.file, at) };
  }

  #location(text: string, file: string, at: number): NonNullable<Warning['location']> {
    const before = text.slice(0, at).split('\n');
    return {
      file: path.relative(this.#directory, file),
      line: before.length,
      column: before.at(-1)?.length ?? 0,
    };
  }

  /** An error of esbuild's form; `detail` carries the next step. */
  #error(text: string, file: string, problem: JsxProblem): PartialMessage {
    const { at, next } = problem;
    return { text: problem.text, location: this.#location(text, file, at), detail: { next } };
  }

  /** Literals that name a module which has another name in the archive, and the ending that is added. */
  #renamed({ paths }: Findings): ReadonlyMap<Node, string> {
    const renamed = new Map<Node, string>();
    for (const { path: file, open, use, tail } of paths) {
      if (open || use === 'data' || !tail || !CODE_FILE.test(file) || !this.#places.isKept(file)) continue;
      if (statOf(file)?.isFile()) renamed.set(tail, renamedEnding(file));
    }
    return renamed;
  }

  /** Code below node_modules is a package's, except for packages that are bundled from their sources. */
  #isOwn(file: string): boolean {
    return !/[\\/]node_modules[\\/]/.test(file) || this.#places.packageOf(file) !== undefined;
  }
}

/** Lines of the map are those of the source: edits of a source keep its lines. */
function compiledText({ code, map }: Compiled, file: string, text: string): string {
  if (map === undefined) return code;
  const parsed: unknown = JSON.parse(map);
  const own = { ...(parsed as object), sources: [path.basename(file)], sourcesContent: [text] };
  const data = Buffer.from(JSON.stringify(own)).toString('base64');
  return `${code}\n//# sourceMappingURL=data:application/json;base64,${data}`;
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
