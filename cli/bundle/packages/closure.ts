/**
 * Places of packages in the archive. Node finds there the same dependencies of each that it finds on the developer's disk. No I/O:
 * `lookup` says which packages are installed.
 */
import type { Package } from './packages.ts';

export type Lookup = (name: string, from: string) => Package | undefined;

export interface Placement {
  /** Folder in the archive: `node_modules/a`, or `node_modules/a/node_modules/b` when another version has the first. */
  readonly to: string;
  readonly package: Package;
}

/** A package with a place of its own, which is the top unless another version of it lies there. */
export type Root = Placement;

/**
 * Places the roots where they say, then each dependency as high as it can stand: at the top when the name is free or taken
 * by the very same package, otherwise below the package that needs it. `wants`: is this optional peer, or any other package,
 * to come along?
 */
export function closure(
  roots: readonly Root[],
  lookup: Lookup,
  wants: (name: string, owner: Package) => boolean,
): Placement[] {
  const placed = new Map<string, Package>();
  const queue: Placement[] = [];
  const place = (to: string, found: Package): void => {
    placed.set(to, found);
    queue.push({ to, package: found });
  };
  for (const { to, package: root } of roots.toSorted((a, b) => compare(a.to, b.to))) {
    if (!placed.has(to)) place(to, root);
  }
  for (let next = 0; next < queue.length; next++) {
    const { to, package: owner } = queue[next] ?? missingEntry(next);
    for (const name of [...owner.dependencies, ...owner.optionalPeers]) {
      if (!wants(name, owner)) continue;
      const dependency = lookup(name, owner.directory);
      // Optional ones may be absent, and those of other platforms would only be dead weight.
      if (!dependency?.fits) continue;
      const seen = nearest(to, name, placed);
      if (seen?.directory === dependency.directory) continue;
      place(seen === undefined ? `node_modules/${name}` : `${to}/node_modules/${name}`, dependency);
    }
  }
  return queue.toSorted((a, b) => compare(a.to, b.to));
}

/** The package that Node finds for `name` from inside the folder `at`: of the nearest node_modules that has it. */
function nearest(at: string, name: string, placed: ReadonlyMap<string, Package>): Package | undefined {
  for (let folder = at; ;) {
    const found = placed.get(`${folder}/node_modules/${name}`);
    if (found) return found;
    const up = folder.lastIndexOf('/node_modules/');
    if (up < 0) return placed.get(`node_modules/${name}`);
    folder = folder.slice(0, up);
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function missingEntry(index: number): never {
  throw new RangeError(`the queue has no entry ${index}`);
}
