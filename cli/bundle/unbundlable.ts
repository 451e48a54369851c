/** Signs by which a package is known not to work from inside a bundle, though bundling it gives no error. */
import { readFileSync } from 'node:fs';

/** esbuild's messages about `require` calls whose argument it cannot know: the module would be missing at run time. */
export const CANNOT_BUNDLE_WARNINGS: ReadonlySet<string> = new Set([
  'unsupported-require-call',
  'indirect-require',
  'require-resolve-not-external',
]);

/** A package that asks where it lies wants to read a file beside it, and a bundle lies somewhere else. */
const OWN_PLACE = /\b__dirname\b|\b__filename\b|\bimport\.meta\.(?:dirname|filename|resolve|url)\b/;

const known = new Map<string, boolean>();

/** Does this module of a package use its own place on disk? Remembered: installed packages do not change. */
export function usesItsOwnPlace(file: string): boolean {
  if (!/[\\/]node_modules[\\/]/.test(file) || !/\.[cm]?js$/.test(file)) return false;
  let answer = known.get(file);
  if (answer === undefined) {
    answer = OWN_PLACE.test(readFileSync(file, 'utf8'));
    known.set(file, answer);
  }
  return answer;
}
