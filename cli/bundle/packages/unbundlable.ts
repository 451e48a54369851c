/** Signs by which a package is known not to work from inside a bundle, though bundling it gives no error. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { BuildResult } from 'esbuild';
import { CODE_FILE } from '../reading/syntax.ts';

/** esbuild's messages about `require` calls whose argument it cannot know: the module would be missing at run time. */
export const CANNOT_BUNDLE_WARNINGS: ReadonlySet<string> = new Set([
  'unsupported-require-call',
  'indirect-require',
  'require-resolve-not-external',
]);

/** A package that asks where it lies wants to read a file beside it, and a bundle lies somewhere else. */
const OWN_PLACE = /\b__dirname\b|\b__filename\b|\bimport\.meta\.(?:dirname|filename|resolve|url)\b/;

const known = new Map<string, boolean>();

/** Files of a build by which their packages are known not to work from inside of it. `isOfPackage`: is it no source of the function? */
export function suspectsOf(
  result: BuildResult<{ metafile: true }>,
  directory: string,
  isOfPackage: (file: string) => boolean,
): string[] {
  const warned = result.warnings
    .filter((warning) => CANNOT_BUNDLE_WARNINGS.has(warning.id))
    .flatMap((warning) => warning.location?.file ?? []);
  const included = Object.values(result.metafile.outputs).flatMap((output) =>
    Object.entries(output.inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? file : [])),
  );
  const suspected = included.map((file) => path.resolve(directory, file)).filter((file) => isOfPackage(file));
  return [...warned, ...suspected.filter((file) => usesItsOwnPlace(file))];
}

/** Does this module of a package use its own place on disk? Remembered: packages do not change while the bundler lives. */
function usesItsOwnPlace(file: string): boolean {
  if (!CODE_FILE.test(file)) return false;
  let answer = known.get(file);
  if (answer === undefined) {
    answer = OWN_PLACE.test(readFileSync(file, 'utf8'));
    known.set(file, answer);
  }
  return answer;
}
