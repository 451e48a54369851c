/** Files of packages: those that are packed, and whether native code is among them. */
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { isForeign } from './native.ts';
import { findPackage, type Package } from './packages.ts';

/** Does the package hold native code, itself or in a package of its own for this system? */
export function isNative(found: Package): boolean {
  if (holdsNativeFile(found.directory)) return true;
  return found.optionalDependencies.some((name) => {
    const dependency = findPackage(name, found.directory);
    return dependency?.restricted === true && dependency.fits && holdsNativeFile(dependency.directory);
  });
}

/**
 * Files of a package relative to its folder, sorted. Only what cannot be used is left out: packages nested in it, libraries for
 * other systems, objects of a compiler. Secrets of a workspace stay behind as well.
 */
export function packageFiles(directory: string): string[] {
  const files: string[] = [];
  const workspace = !/[\\/]node_modules[\\/]/.test(directory);
  const walk = (relative: string): void => {
    for (const entry of readdirSync(path.join(directory, relative), { withFileTypes: true })) {
      const name = relative === '' ? entry.name : `${relative}/${entry.name}`;
      const file = path.join(directory, name);
      if (entry.isDirectory()) {
        if (entry.name !== 'node_modules' && entry.name !== '.git') walk(name);
      } else if (workspace && entry.name.startsWith('.env')) {
        continue;
      } else if (statSync(file, { throwIfNoEntry: false })?.isFile() && !isUseless(file)) {
        files.push(name);
      }
    }
  };
  walk('');
  return files.toSorted();
}

function isUseless(file: string): boolean {
  return (
    /[\\/]build[\\/].*\.(?:o|o\.d|a)$/.test(file) || /[\\/]obj\.target[\\/]/.test(file) || isForeign(file)
  );
}

const native = new Map<string, boolean>();

/** Remembered: `offshoot dev` asks at every change, and installed packages do not change under it. */
function holdsNativeFile(directory: string): boolean {
  let answer = native.get(directory);
  if (answer === undefined) {
    answer = packageFiles(directory).some((file) => file.endsWith('.node'));
    native.set(directory, answer);
  }
  return answer;
}
