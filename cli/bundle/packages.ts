/**
 * Finding npm packages on disk, as Node does, and deciding which of them must stay files: those that carry native code.
 */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { textOf } from './json-file.ts';
import { isForeign } from './native.ts';

const Dependencies = z.record(z.string(), z.string()).catch({});
const PackageJson = z.object({
  name: z.string().optional(),
  version: z.string().optional(),
  dependencies: Dependencies.default({}),
  optionalDependencies: Dependencies.default({}),
  peerDependencies: Dependencies.default({}),
  peerDependenciesMeta: z
    .record(z.string(), z.object({ optional: z.boolean().optional() }))
    .catch({})
    .default({}),
  os: z.array(z.string()).optional().catch(undefined),
  cpu: z.array(z.string()).optional().catch(undefined),
  libc: z.array(z.string()).optional().catch(undefined),
});

export interface Package {
  /** The name under which it is found, which is its folder below node_modules. */
  readonly name: string;
  /** Absolute path, links resolved. */
  readonly directory: string;
  readonly version: string;
  /** What it loads at run time; the packages that are really there decide. */
  readonly dependencies: readonly string[];
  /** Packages that it can work with. Those that are imported are needed, others only lie in the same node_modules. */
  readonly optionalPeers: readonly string[];
  /** Packages that may be absent: those of other systems, as a rule. */
  readonly optionalDependencies: readonly string[];
  /** Is it made for one system, by `os`, `cpu` or `libc`? */
  readonly restricted: boolean;
  /** May it run where functions run: Linux, this processor, glibc? */
  readonly fits: boolean;
}

/** `hono` of `hono/cors`, `@scope/name` of `@scope/name/sub`; undefined for what is not a package name. */
export function packageNameOf(specifier: string): string | undefined {
  const match = /^(?:@[^/\\]+\/)?[^./\\@#:][^/\\:]*/.exec(specifier);
  return match?.[0] === specifier || specifier[match?.[0].length ?? 0] === '/' ? match?.[0] : undefined;
}

/** The package of that name that a module in `from` gets; undefined when there is none. */
export function findPackage(name: string, from: string): Package | undefined {
  for (let at = from; ; at = path.dirname(at)) {
    const directory = path.join(at, 'node_modules', name);
    if (existsSync(path.join(directory, 'package.json'))) return readPackage(name, realpathSync(directory));
    if (at === path.dirname(at)) return undefined;
  }
}

/** Folder below node_modules that a file lies in, and the package's name; undefined for sources outside of packages. */
export function packageOfFile(file: string): { name: string; from: string } | undefined {
  const marker = `${path.sep}node_modules${path.sep}`;
  const at = file.lastIndexOf(marker);
  if (at < 0) return undefined;
  const name = packageNameOf(file.slice(at + marker.length).replaceAll('\\', '/'));
  return name === undefined ? undefined : { name, from: file.slice(0, at) || path.sep };
}

/** Does the package hold native code, itself or in a package of its own for this system? */
export function isNative(found: Package): boolean {
  if (holdsNativeFile(found.directory)) return true;
  return found.optionalDependencies.some((name) => {
    const dependency = findPackage(name, found.directory);
    return dependency?.restricted === true && dependency.fits && holdsNativeFile(dependency.directory);
  });
}

/** A package of a workspace: linked into node_modules, its files lie elsewhere. */
export function isWorkspace(found: Package): boolean {
  return !/[\\/]node_modules[\\/]/.test(found.directory);
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

function readPackage(name: string, directory: string): Package | undefined {
  let json: unknown;
  try {
    json = JSON.parse(textOf(readFileSync(path.join(directory, 'package.json'))));
  } catch {
    return undefined;
  }
  const parsed = PackageJson.safeParse(json);
  if (!parsed.success) return undefined;
  const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = parsed.data;
  const { os, cpu, libc, version } = parsed.data;
  const isOptional = (peer: string): boolean => peerDependenciesMeta[peer]?.optional === true;
  const peers = Object.keys(peerDependencies);
  const names = new Set([
    ...Object.keys(dependencies),
    ...Object.keys(optionalDependencies),
    ...peers.filter((peer) => !isOptional(peer)),
  ]);
  return {
    name,
    directory,
    version: version ?? '',
    dependencies: [...names].filter((dependency) => !dependency.startsWith('@types/')).toSorted(),
    optionalPeers: peers.filter((peer) => isOptional(peer) && !names.has(peer)).toSorted(),
    optionalDependencies: Object.keys(optionalDependencies).toSorted(),
    restricted: [os, cpu, libc].some((list) => list !== undefined && list.length > 0),
    fits: allows(os, 'linux') && allows(cpu, process.arch) && allows(libc, 'glibc'),
  };
}

/** npm's rule for `os`, `cpu` and `libc`: a list of what is allowed, or of what is not (`!win32`). */
function allows(list: readonly string[] | undefined, value: string): boolean {
  if (list === undefined || list.length === 0) return true;
  if (list.includes(`!${value}`)) return false;
  return list.includes(value) || list.every((entry) => entry.startsWith('!'));
}

/** Names in `dependencies` and `optionalDependencies` of the nearest package.json. */
export function directDependencies(directory: string): ReadonlySet<string> {
  for (let at = directory; ; at = path.dirname(at)) {
    try {
      const json: unknown = JSON.parse(textOf(readFileSync(path.join(at, 'package.json'))));
      const { dependencies, optionalDependencies } = json as Record<string, object | undefined>;
      return new Set([...Object.keys(dependencies ?? {}), ...Object.keys(optionalDependencies ?? {})]);
    } catch {
      if (at === path.dirname(at)) return new Set();
    }
  }
}
