/** One bundled module of an archive: the function's own, or one that runs for itself, such as a worker thread's. */
import path from 'node:path';
import type * as esbuild from 'esbuild';
import type { Assets } from './assets.ts';
import { BINARY_FILES } from './assets.ts';
import type { Externals } from './packages/externals.ts';
import { BANNER, NAMES_MODULE, namesPlugin } from './terms/names.ts';
import type { OwnModule } from './sources/needs.ts';
import type { OwnSources } from './sources/own-sources.ts';
import type { Project } from './terms/build.ts';
import type { TypeScriptSettings } from './typescript/tsconfig.ts';
import { CANNOT_BUNDLE_WARNINGS } from './packages/unbundlable.ts';

/** Endings of files that are imported as text. `docs/functions.md` lists them for users. */
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

export interface UnitOptions extends esbuild.BuildOptions {
  metafile: true;
  write: false;
}

export type UnitResult = esbuild.BuildResult<UnitOptions>;

/** Parts that all modules of an archive share. */
export interface Parts {
  readonly externals: Externals;
  readonly assets: Assets;
  readonly own: OwnSources;
  readonly settings: TypeScriptSettings;
}

export function unitOptions(
  project: Project,
  { entry, output, format }: OwnModule,
  parts: Parts,
): UnitOptions {
  const { directory, manifest } = project;
  const loaders: Record<string, esbuild.Loader> = { '.node': 'copy' };
  for (const extension of TEXT_FILES) loaders[extension] = 'text';
  return {
    absWorkingDir: directory,
    entryPoints: [entry],
    outfile: path.join(directory, output),
    // A module that keeps its name; nothing is written here.
    allowOverwrite: true,
    write: false,
    bundle: true,
    metafile: true,
    format,
    platform: 'node',
    target: 'node24',
    charset: 'utf8',
    // `linked`: Node looks for the map through the comment at the end of the module.
    sourcemap: 'linked',
    sourcesContent: true,
    banner: { js: BANNER[format] },
    // A project that tsconfig.json only refers to is not found by esbuild.
    ...(parts.settings.isReferred(entry) && { tsconfig: parts.settings.of(entry)?.path ?? '' }),
    inject: [NAMES_MODULE],
    // Code asks classes and functions for their names: errors, dependency injection, job names.
    keepNames: true,
    loader: loaders,
    // Many packages choose their fast build by it. A function that needs another value says so in its `env`.
    define: { 'process.env.NODE_ENV': JSON.stringify(manifest.env['NODE_ENV'] ?? 'production') },
    logLevel: 'silent',
    logOverride: Object.fromEntries([...CANNOT_BUNDLE_WARNINGS].map((id) => [id, 'warning'])),
    plugins: [
      namesPlugin(output, format),
      parts.externals.plugin([...TEXT_FILES, ...BINARY_FILES], output),
      parts.assets.plugin(),
      parts.own.plugin(),
    ],
  };
}
