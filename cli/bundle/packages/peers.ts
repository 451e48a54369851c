/** Which optional peers the packages that stay files really import, on the way that begins at the imports of the bundle. */
import path from 'node:path';
import type * as esbuild from 'esbuild';
import type { ExternalImport } from './externals.ts';
import { ASKED } from '../terms/names.ts';
import { packageNameOf } from '../terms/package-name.ts';
import { packageOfFile } from './packages.ts';

/** Imports that were met: `FOLDER OF THE IMPORTING PACKAGE\0NAME`. Nothing is written, and errors of a package are its own matter. */
export async function importsMet(
  library: typeof esbuild,
  directory: string,
  imports: readonly ExternalImport[],
): Promise<ReadonlySet<string>> {
  const met = new Set<string>();
  const plugin: esbuild.Plugin = {
    name: 'imports-met',
    setup: (build) => {
      build.onResolve({ filter: /.*/ }, async (args) => {
        if (args.pluginData === ASKED) return undefined;
        if (args.kind === 'entry-point') return { path: 'start', namespace: 'offshoot' };
        const wanted = args.namespace === 'offshoot' ? imports[Number(args.path)] : undefined;
        const specifier = wanted?.specifier ?? args.path;
        const name = packageNameOf(specifier);
        const owner = ownerFolder(args.importer);
        if (name !== undefined && owner !== undefined) met.add(`${owner}\0${name}`);
        const kind = wanted ? 'import-statement' : args.kind;
        const resolveDir = wanted?.from ?? args.resolveDir;
        const found = await build.resolve(specifier, { resolveDir, kind, pluginData: ASKED });
        const isCode = /\.(?:[cm]?[jt]sx?|json)$/.test(found.path);
        return found.errors.length > 0 || !isCode ? { path: specifier, external: true } : found;
      });
      build.onLoad({ filter: /^start$/, namespace: 'offshoot' }, () => ({
        contents: imports.map((_, at) => `import '${at}';`).join('\n'),
        loader: 'js',
        resolveDir: directory,
      }));
    },
  };
  await library
    .build({
      absWorkingDir: directory,
      entryPoints: ['start'],
      bundle: true,
      write: false,
      outdir: directory,
      platform: 'node',
      format: 'esm',
      treeShaking: false,
      logLevel: 'silent',
      plugins: [plugin],
    })
    .catch(() => undefined);
  return met;
}

function ownerFolder(file: string): string | undefined {
  const owner = packageOfFile(file);
  return owner && path.join(owner.from, 'node_modules', owner.name);
}
