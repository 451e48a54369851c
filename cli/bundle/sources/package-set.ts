/** The packages of an archive: those that the bundle imports, those that are named, and all that they need. */
import path from 'node:path';
import type * as esbuild from 'esbuild';
import { closure, type Placement } from '../packages/closure.ts';
import type { Externals } from '../packages/externals.ts';
import type { Needs } from './needs.ts';
import type { OwnSources } from './own-sources.ts';
import { packageFiles } from '../packages/package-files.ts';
import { packageNameOf } from '../terms/package-name.ts';
import { findPackage, type Package } from '../packages/packages.ts';
import { importsMet } from '../packages/peers.ts';
import type { Selection } from '../packages/selection.ts';

/** Packages that are named, by offshoot.json or by a string in a source. */
export function namedPackages(own: OwnSources, selection: Selection, directory: string): Package[] {
  const found = [...own.used.values()].flatMap(({ file, packages }) =>
    [...packages].flatMap((name) => findPackage(packageNameOf(name) ?? '', path.dirname(file)) ?? []),
  );
  return onlyOnce([...selection.packages(directory), ...found]);
}

/** Places of all packages. Optional peers come along where one of them imports them. */
export async function packagesToPack(
  library: typeof esbuild,
  directory: string,
  externals: Externals,
  named: readonly Package[],
  isExcluded: (name: string) => boolean,
): Promise<Placement[]> {
  const own = named.map((found) => ({ to: `node_modules/${found.name}`, package: found }));
  const roots = [...externals.roots(), ...own];
  const without = closure(
    roots,
    findPackage,
    (name, owner) => !isExcluded(name) && !owner.optionalPeers.includes(name),
  );
  const peers = without.some(({ package: owner }) =>
    owner.optionalPeers.some((name) => findPackage(name, owner.directory) !== undefined),
  );
  if (!peers) return without;
  const imports = [...externals.imports, ...named.map(({ name }) => ({ specifier: name, from: directory }))];
  const met = await importsMet(library, directory, imports);
  const taken = new Set(roots.map(({ package: found }) => found.name));
  return closure(
    roots,
    findPackage,
    (name, owner) =>
      !isExcluded(name) &&
      (!owner.optionalPeers.includes(name) || taken.has(name) || met.has(`${owner.directory}\0${name}`)),
  );
}

/** All files of the packages whose sources are bundled, and those that sources and `files` name. */
export function copiesOf(externals: Externals, { copies }: Needs): Map<string, string> {
  const all = new Map<string, string>();
  for (const { name, directory } of externals.fromSource.values()) {
    for (const file of packageFiles(directory)) {
      all.set(`node_modules/${name}/${file}`, path.join(directory, file));
    }
  }
  for (const [to, file] of copies) all.set(to, file);
  return all;
}

/** Each package once, the first of each. */
function onlyOnce(packages: readonly Package[]): Package[] {
  return [...new Map(packages.toReversed().map((found) => [found.directory, found])).values()].toReversed();
}
