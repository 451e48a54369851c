/**
 * Names that Node gives to code and a bundle does not: `require`, `__dirname` and `__filename` of CommonJS, and the place of each
 * source. They are symbols of a module that esbuild injects, so esbuild renames them beside a name of the author's.
 */
import path from 'node:path';
import type { Plugin } from 'esbuild';

/** The injected module. Its namespace keeps it apart from files. */
export const NAMES_MODULE = 'offshoot:names';

/** Marks a question that a plugin asks the bundler, and that no plugin of this bundler answers. */
export const ASKED = Symbol('asked by a plugin');

/** Format of a bundled module: ES module, or CommonJS for a file that must stay `.cjs`. */
export type Format = 'esm' | 'cjs';

/**
 * esbuild's helper for calls of `require` asks for a variable of exactly this name, so text must declare it. esbuild renames an
 * author's `require`, and also any author's name that equals the second one: the injected module mentions it.
 */
const REQUIRE_IMPORT = 'offshootCreateRequire';
export const BANNER: Readonly<Record<Format, string>> = {
  esm: `import { createRequire as ${REQUIRE_IMPORT} } from 'node:module';
const require = ${REQUIRE_IMPORT}(import.meta.url);`,
  cjs: '',
};

/** Plugin that gives the injected module to a build. `output`: path of the bundled module in the archive. */
export function namesPlugin(output: string, format: Format): Plugin {
  return {
    name: 'names-of-node',
    setup: (build) => {
      build.onResolve({ filter: new RegExp(`^${NAMES_MODULE}$`) }, () => ({
        path: 'names',
        namespace: 'offshoot',
      }));
      build.onLoad({ filter: /^names$/, namespace: 'offshoot' }, () => ({
        contents: namesModule(output, format),
        loader: 'js',
      }));
    },
  };
}

/** The root of the archive is known by the way up from the bundled module. */
function namesModule(output: string, format: Format): string {
  const up = JSON.stringify(path.posix.relative(path.posix.dirname(output), '') || '.');
  const here = format === 'esm' ? 'import.meta.dirname' : '__dirname';
  // CommonJS output has these two from Node.
  const ofCommonJs = `export const __filename = import.meta.filename;
export const __dirname = import.meta.dirname;`;
  return `import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
typeof ${REQUIRE_IMPORT};
const root = join(${here}, ${up});
export const offshootPlace = (file) => join(root, file);
export const offshootUrl = (file) => pathToFileURL(join(root, file)).href;
export const offshootRequire = (file) => createRequire(join(root, file));
const isRelative = (name) => /^\\.{0,2}\\//.test(name);
export const offshootSpecifier = (file, name) =>
  typeof name === 'string' && isRelative(name) ? new URL(name, offshootUrl(file)).href : name;
export const offshootResolve = (file, resolve) => (name) =>
  isRelative(name) ? new URL(name, offshootUrl(file)).href : resolve(name);
export const offshootMeta = (file, meta) => ({
  ...meta,
  dirname: offshootPlace(join(file, '..')),
  filename: offshootPlace(file),
  url: offshootUrl(file),
  resolve: offshootResolve(file, (name) => meta.resolve(name)),
});
${format === 'esm' ? ofCommonJs : ''}
`;
}
