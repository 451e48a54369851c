/**
 * Finding npm packages on disk, as Node does.
 */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { packageNameOf } from '../terms/package-name.ts';
import { textOf } from '../terms/json-file.ts';
import { CliError } from '../../terminal/errors.ts';
import { shellWord } from '../../terminal/text.ts';

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
  /** Packages that it loads at run time; the packages that are really there decide. */
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

/** A package of a workspace: linked into node_modules, its files lie elsewhere. */
export function isWorkspace(found: Package): boolean {
  return !/[\\/]node_modules[\\/]/.test(found.directory);
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

/** Stops early when package.json names packages that are not there: the bundler would report each import of them. */
export function requireInstalled(directory: string): void {
  let dependencies: unknown;
  try {
    const json: unknown = JSON.parse(textOf(readFileSync(path.join(directory, 'package.json'))));
    dependencies = typeof json === 'object' && json !== null && 'dependencies' in json && json.dependencies;
  } catch {
    return;
  }
  if (typeof dependencies !== 'object' || dependencies === null) return;
  const absent = Object.keys(dependencies).filter((name) => !isInstalled(name, directory));
  if (absent.length === 0) return;
  const verb = absent.length === 1 ? 'is' : 'are';
  throw new CliError('usage', `${absent.join(', ')} ${verb} named in package.json but not installed`, {
    code: 'not_installed',
    details: { packages: absent },
    next: `(cd ${shellWord(directory)} && npm install) && offshoot deploy ${shellWord(directory)}`,
  });
}

function isInstalled(name: string, directory: string): boolean {
  for (let at = directory; ; at = path.dirname(at)) {
    if (existsSync(path.join(at, 'node_modules', name))) return true;
    if (at === path.dirname(at)) return false;
  }
}
