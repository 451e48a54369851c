/**
 * Bundles a function with esbuild: one module, its source map, and, as files, the packages that do not survive bundling.
 */
import { builtinModules } from 'node:module';
import path from 'node:path';
import type * as esbuild from 'esbuild';
import type { Project } from '../project.ts';
import { buildError } from './build-error.ts';
import { closure, type Placement } from './closure.ts';
import { findPackage, isNative, packageNameOf, packageOfFile, type Package } from './packages.ts';
import { CANNOT_BUNDLE_WARNINGS, usesItsOwnPlace } from './unbundlable.ts';

/** What is imported as text or bytes (a Uint8Array) instead of code. `functions/README.md` lists them for users. */
export const TEXT_FILES = [
  '.txt',
  '.html',
  '.css',
  '.svg',
  '.md',
  '.sql',
  '.xml',
  '.csv',
  '.graphql',
  '.gql',
];
// oxfmt-ignore
export const BINARY_FILES = [
  '.wasm', '.bin', '.png', '.jpg', '.jpeg', '.gif', '.webp', '.avif', '.ico', '.pdf',
  '.ttf', '.otf', '.woff', '.woff2',
];

export const ENTRY_FILE = 'index.mjs';

/**
 * Bundled CommonJS code expects what Node gives to each CommonJS module. The names are long because the bundle's own
 * top level shares their scope; `require` itself must have its name, since esbuild's helper looks for it.
 */
const BANNER = `import { createRequire as offshootCreateRequire } from 'node:module';
const require = offshootCreateRequire(import.meta.url);
const __filename = import.meta.filename;
const __dirname = import.meta.dirname;`;

export interface Bundle {
  /** Path in the archive → contents: the module, its map, and assets that esbuild copied. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly packages: readonly Placement[];
  readonly warnings: readonly esbuild.Message[];
  /** Absolute paths of all sources, keyed by the path that they have in the source map. */
  readonly sources: ReadonlyMap<string, string>;
}

/** A bundler that can run again after a change, and is then faster. `dispose` ends its child process. */
export class Bundler {
  readonly #project: Project;
  readonly #context: esbuild.BuildContext<{ metafile: true; write: false }>;
  readonly #externals: Externals;

  private constructor(
    project: Project,
    context: esbuild.BuildContext<{ metafile: true; write: false }>,
    externals: Externals,
  ) {
    this.#project = project;
    this.#context = context;
    this.#externals = externals;
  }

  static async create(project: Project): Promise<Bundler> {
    // Loaded only here, since most verbs never bundle.
    const { context } = await import('esbuild');
    const externals = new Externals();
    return new Bundler(project, await context(options(project, externals)), externals);
  }

  /** Throws a CliError with file, line and excerpt of each error. */
  async run(): Promise<Bundle> {
    let result = await this.#build();
    // A package that cannot be bundled is known only after it has been: leave it out and build once more.
    if (this.#externals.addUnbundlable(result, this.#project.directory)) result = await this.#build();
    const files = new Map(
      result.outputFiles.map((file) => [
        path.relative(this.#project.directory, file.path).replaceAll('\\', '/'),
        file.contents,
      ]),
    );
    const inputs = Object.keys(result.metafile.inputs);
    return {
      files,
      packages: closure([...this.#externals.used.values()], findPackage),
      warnings: result.warnings.filter((warning) => !CANNOT_BUNDLE_WARNINGS.has(warning.id)),
      sources: new Map(inputs.map((input) => [input, path.resolve(this.#project.directory, input)])),
    };
  }

  async dispose(): Promise<void> {
    await this.#context.dispose();
  }

  async #build(): Promise<esbuild.BuildResult<{ metafile: true; write: false }>> {
    this.#externals.used.clear();
    try {
      return await this.#context.rebuild();
    } catch (error) {
      throw buildError(error, this.#project.directory);
    }
  }
}

/** The packages that stay files, and the esbuild plugin that leaves them out of the bundle. */
class Externals {
  /** Folders of packages found not to survive bundling. */
  readonly #unbundlable = new Set<string>();
  /** Packages that the last build left out, by folder. */
  readonly used = new Map<string, Package>();

  /** Looks through a build for packages that must be left out; true when there are new ones. */
  addUnbundlable(result: esbuild.BuildResult<{ metafile: true }>, directory: string): boolean {
    const before = this.#unbundlable.size;
    const suspects = result.warnings
      .filter((warning) => CANNOT_BUNDLE_WARNINGS.has(warning.id))
      .flatMap((warning) => warning.location?.file ?? []);
    const included = Object.values(result.metafile.outputs).flatMap((output) =>
      Object.entries(output.inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? file : [])),
    );
    suspects.push(...included.filter((file) => usesItsOwnPlace(path.resolve(directory, file))));
    for (const file of suspects) {
      const owner = packageOfFile(path.resolve(directory, file));
      const found = owner && findPackage(owner.name, owner.from);
      if (found) this.#unbundlable.add(found.directory);
    }
    return this.#unbundlable.size > before;
  }

  plugin(): esbuild.Plugin {
    const assets = new Set([...TEXT_FILES, ...BINARY_FILES]);
    return {
      name: 'packages-that-stay-files',
      setup: (build) => {
        build.onResolve({ filter: /^[^./\\#]/ }, (args) => {
          const name = packageNameOf(args.path);
          if (name === undefined || builtinModules.includes(name)) return undefined;
          // A file of bytes or text can be put into the bundle whatever the rest of its package needs.
          if (assets.has(path.extname(args.path))) return undefined;
          const found = findPackage(name, args.resolveDir);
          if (!found || !(this.#unbundlable.has(found.directory) || isNative(found))) return undefined;
          this.used.set(found.directory, found);
          return { path: args.path, external: true };
        });
      },
    };
  }
}

function options(
  project: Project,
  externals: Externals,
): esbuild.BuildOptions & { metafile: true; write: false } {
  const { directory, entry, manifest } = project;
  const loaders: Record<string, esbuild.Loader> = { '.node': 'copy' };
  for (const extension of TEXT_FILES) loaders[extension] = 'text';
  for (const extension of BINARY_FILES) loaders[extension] = 'binary';
  return {
    absWorkingDir: directory,
    entryPoints: [entry],
    outfile: path.join(directory, ENTRY_FILE),
    write: false,
    bundle: true,
    metafile: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    charset: 'utf8',
    // `linked`: Node looks for the map through the comment at the end of the module.
    sourcemap: 'linked',
    sourcesContent: true,
    banner: { js: BANNER },
    loader: loaders,
    // Many packages choose their fast build by it. A function that needs another value says so in its `env`.
    define: { 'process.env.NODE_ENV': JSON.stringify(manifest.env['NODE_ENV'] ?? 'production') },
    logLevel: 'silent',
    logOverride: Object.fromEntries([...CANNOT_BUNDLE_WARNINGS].map((id) => [id, 'warning'])),
    plugins: [externals.plugin()],
  };
}
