/**
 * Bundles a function with esbuild: one module, its source map, and, as files, the packages that do not survive bundling.
 */
import path from 'node:path';
import type * as esbuild from 'esbuild';
import { kindOf } from '#contract/functions/runtimes.ts';
import type { Build, Builder, Project } from './build.ts';
import { Assets, BINARY_FILES } from './assets.ts';
import { buildError, describe, isBuildFailure } from './build-error.ts';
import { closure } from './closure.ts';
import { Externals } from './externals.ts';
import { findPackage, packageFiles } from './packages.ts';
import { CANNOT_BUNDLE_WARNINGS, suspectsOf } from './unbundlable.ts';

/** What is imported as text. `docs/functions.md` lists them for users. */
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

/**
 * Bundled CommonJS code expects what Node gives to each CommonJS module. The names are long because the bundle's own
 * top level shares their scope; `require` itself must have its name, since esbuild's helper looks for it.
 */
const BANNER = `import { createRequire as offshootCreateRequire } from 'node:module';
const require = offshootCreateRequire(import.meta.url);
const __filename = import.meta.filename;
const __dirname = import.meta.dirname;`;

interface BuildOptions {
  metafile: true;
  write: false;
}

/** A bundler that can run again after a change, and is then faster. `dispose` ends its child process. */
export class Bundler implements Builder {
  readonly #project: Project;
  readonly #context: esbuild.BuildContext<BuildOptions>;
  readonly #externals: Externals;
  readonly #assets: Assets;

  private constructor(
    project: Project,
    context: esbuild.BuildContext<BuildOptions>,
    externals: Externals,
    assets: Assets,
  ) {
    this.#project = project;
    this.#context = context;
    this.#externals = externals;
    this.#assets = assets;
  }

  static async create(project: Project): Promise<Bundler> {
    // Loaded only here, since most verbs never bundle.
    const { context } = await import('esbuild');
    const externals = new Externals();
    const assets = new Assets();
    return new Bundler(project, await context(options(project, externals, assets)), externals, assets);
  }

  /** Throws a CliError with file, line and excerpt of each error. */
  async run(): Promise<Build> {
    const { directory, manifest } = this.#project;
    const result = await this.#build();
    const files = new Map<string, Uint8Array>(
      result.outputFiles.map((file) => [
        path.relative(directory, file.path).replaceAll('\\', '/'),
        file.contents,
      ]),
    );
    for (const [name, contents] of this.#assets.used) files.set(name, contents);
    const externals = [...this.#externals.used.values()];
    const inputs = Object.keys(result.metafile.inputs);
    return {
      files,
      entryFile: kindOf(manifest.runtime).entry.built,
      packages: closure(externals, findPackage).map(({ to, package: found }) => {
        const { name, version, directory: folder } = found;
        const isImported = externals.includes(found);
        return { name, version, to, directory: folder, isImported, files: () => packageFiles(folder) };
      }),
      warnings: result.warnings
        .filter((warning) => !CANNOT_BUNDLE_WARNINGS.has(warning.id))
        .map((warning) => describe(warning, directory)),
      sources: new Map(inputs.map((input) => [input, path.resolve(directory, input)])),
    };
  }

  async dispose(): Promise<void> {
    await this.#context.dispose();
  }

  /** Builds until no more packages are found that must be left out; each round leaves out at least one. */
  async #build(): Promise<esbuild.BuildResult<BuildOptions>> {
    const { directory } = this.#project;
    for (;;) {
      this.#externals.used.clear();
      this.#assets.used.clear();
      try {
        const result = await this.#context.rebuild();
        if (!this.#externals.leaveOut(suspectsOf(result, directory), directory)) return result;
      } catch (error) {
        const places = isBuildFailure(error)
          ? error.errors.flatMap(({ location }) => location?.file ?? [])
          : [];
        if (!this.#externals.leaveOut(places, directory)) throw buildError(error, directory);
      }
    }
  }
}

function options(
  project: Project,
  externals: Externals,
  assets: Assets,
): esbuild.BuildOptions & BuildOptions {
  const { directory, entry, manifest } = project;
  const loaders: Record<string, esbuild.Loader> = { '.node': 'copy' };
  for (const extension of TEXT_FILES) loaders[extension] = 'text';
  return {
    absWorkingDir: directory,
    entryPoints: [entry],
    outfile: path.join(directory, kindOf(manifest.runtime).entry.built),
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
    plugins: [externals.plugin([...TEXT_FILES, ...BINARY_FILES]), assets.plugin()],
  };
}
