/**
 * Bundles a function with esbuild: its module and those that run for themselves, with their source maps. Files that they read, and
 * packages that do not survive bundling, lie beside them.
 */
import path from 'node:path';
import type * as esbuild from 'esbuild';
import { kindOf } from '#contract/functions/runtimes.ts';
import type { Build, Builder, Project } from './terms/build.ts';
import { Assets } from './assets.ts';
import { buildError, describe, isBuildFailure } from './terms/build-error.ts';
import { Externals } from './packages/externals.ts';
import { environmentWarnings } from './environment.ts';
import { refuseForeign } from './packages/foreign.ts';
import { addNamedModules, needsOf, type Needs, type OwnModule } from './sources/needs.ts';
import { OwnSources } from './sources/own-sources.ts';
import { packageFiles } from './packages/package-files.ts';
import { copiesOf, namedPackages, packagesToPack } from './sources/package-set.ts';
import { Places } from './reading/places.ts';
import { Selection } from './packages/selection.ts';
import { TypeScriptSettings } from './typescript/tsconfig.ts';
import { CANNOT_BUNDLE_WARNINGS, suspectsOf } from './packages/unbundlable.ts';
import { unitOptions, type Parts, type UnitOptions, type UnitResult } from './units.ts';

interface Built {
  readonly results: readonly UnitResult[];
  readonly needs: Needs;
}

/** A bundler that can run again after a change, and is then faster. `dispose` ends its child process. */
export class Bundler implements Builder {
  readonly #project: Project;
  readonly #esbuild: typeof esbuild;
  readonly #places: Places;
  readonly #parts: Parts;
  readonly #files: Selection;
  readonly #packages: Selection;
  /** By path in the archive. */
  readonly #contexts = new Map<string, Promise<esbuild.BuildContext<UnitOptions>>>();

  private constructor(project: Project, library: typeof esbuild) {
    this.#project = project;
    this.#esbuild = library;
    this.#places = new Places(project.directory);
    const { files, packages } = project.manifest;
    this.#files = new Selection(files);
    this.#packages = new Selection(packages);
    const settings = new TypeScriptSettings();
    this.#parts = {
      settings,
      externals: new Externals(project.directory, this.#places, (name) => this.#packages.leavesOut(name)),
      assets: new Assets(),
      own: new OwnSources(project.directory, this.#places, settings),
    };
  }

  get #entryFile(): string {
    return kindOf(this.#project.manifest.runtime).entry.built;
  }

  static async create(project: Project): Promise<Bundler> {
    // Loaded only here, since most verbs never bundle.
    return new Bundler(project, await import('esbuild'));
  }

  /** Throws a CliError with file, line and excerpt of each error. */
  async run(): Promise<Build> {
    const { directory } = this.#project;
    const { externals, assets, own, settings } = this.#parts;
    settings.forget();
    const { results, needs } = await this.#build();
    const files = new Map<string, Uint8Array>(assets.used);
    const sources = new Map<string, string>();
    for (const { outputFiles, metafile } of results) {
      for (const file of outputFiles) {
        files.set(path.relative(directory, file.path).replaceAll('\\', '/'), file.contents);
      }
      for (const input of Object.keys(metafile.inputs)) {
        if (!input.startsWith('offshoot:')) sources.set(input, path.resolve(directory, input));
      }
    }
    const named = namedPackages(own, this.#packages, directory);
    const packages = await packagesToPack(this.#esbuild, directory, externals, named, (name) =>
      this.#packages.leavesOut(name),
    );
    refuseForeign(this.#project, packages, [...sources.values()]);
    const imported = new Set([...externals.used.values(), ...named].map((found) => found.directory));
    const warnings = [
      ...results.flatMap((result) => result.warnings.filter(({ id }) => !CANNOT_BUNDLE_WARNINGS.has(id))),
      ...needs.warnings,
      ...environmentWarnings(this.#project),
    ];
    return {
      files: this.#without(files),
      copies: this.#without(copiesOf(externals, needs)),
      entryFile: this.#entryFile,
      packages: packages.map(({ to, package: { name, version, directory: folder } }) => ({
        name,
        version,
        to,
        directory: folder,
        isImported: imported.has(folder),
        files: () => packageFiles(folder).filter((file) => !this.#files.leavesOut(`${to}/${file}`)),
      })),
      warnings: warnings.map((warning) => describe(warning, directory)),
      sources,
    };
  }

  #without<T>(entries: ReadonlyMap<string, T>): ReadonlyMap<string, T> {
    return new Map([...entries].filter(([name]) => !this.#files.leavesOut(name)));
  }

  async dispose(): Promise<void> {
    for (const context of this.#contexts.values()) await (await context).dispose();
    this.#contexts.clear();
  }

  /** Builds until no more packages are found that must be left out; each round leaves out at least one. */
  async #build(): Promise<Built> {
    const { directory } = this.#project;
    const { externals } = this.#parts;
    for (;;) {
      try {
        const built = await this.#round();
        const isOfPackage = (file: string): boolean => externals.isOfPackage(file);
        const suspects = built.results.flatMap((result) => suspectsOf(result, directory, isOfPackage));
        if (!externals.leaveOut(suspects, directory) && !externals.keepApart()) return built;
      } catch (error) {
        const places = isBuildFailure(error)
          ? error.errors.flatMap(({ location }) => location?.file ?? [])
          : [];
        if (!externals.leaveOut(places, directory)) throw buildError(error, directory);
      }
    }
  }

  /** The function's module, then each module that a source names without importing it. */
  async #round(): Promise<Built> {
    const { directory, entry } = this.#project;
    const { externals, assets, own } = this.#parts;
    externals.forget();
    assets.used.clear();
    own.used.clear();
    const modules = new Map<string, OwnModule>([
      [this.#entryFile, { entry, output: this.#entryFile, format: 'esm' }],
    ]);
    const results: UnitResult[] = [];
    let needs: Needs | undefined;
    // The iteration of a map comes to entries that are added on the way.
    for (const module of modules.values()) {
      results.push(await (await this.#context(module)).rebuild());
      needs = needsOf(own, this.#places, directory, this.#files.takes || this.#packages.takes);
      addNamedModules(needs, this.#files.files(directory), this.#places);
      for (const [output, one] of needs.modules) if (!modules.has(output)) modules.set(output, one);
    }
    return { results, needs: needs ?? { copies: new Map(), modules: new Map(), warnings: [] } };
  }

  #context(module: OwnModule): Promise<esbuild.BuildContext<UnitOptions>> {
    const known = this.#contexts.get(module.output);
    if (known) return known;
    const made = this.#esbuild.context(unitOptions(this.#project, module, this.#parts));
    this.#contexts.set(module.output, made);
    return made;
  }
}
