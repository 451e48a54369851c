/**
 * Finding npm packages on disk, as Node does, and deciding which of them must stay files: those that carry native code.
 */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { CliError } from '../terminal/errors.ts';
import { shellWord } from '../terminal/text.ts';

const Dependencies = z.record(z.string(), z.string()).catch({});
const PackageJson = z.object({
  name: z.string().optional(),
  version: z.string().optional(),
  dependencies: Dependencies.default({}),
  optionalDependencies: Dependencies.default({}),
  peerDependencies: Dependencies.default({}),
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

/** Does the package hold native code, itself or in a package that it loads for its platform? */
export function isNative(found: Package): boolean {
  if (holdsNativeFile(found.directory)) return true;
  return found.dependencies.some((name) => {
    const dependency = findPackage(name, found.directory);
    return dependency !== undefined && holdsNativeFile(dependency.directory);
  });
}

/** Files of a package relative to its folder, sorted: without packages nested in it, type declarations and source maps. */
export function packageFiles(directory: string): string[] {
  const files: string[] = [];
  const walk = (relative: string): void => {
    for (const entry of readdirSync(path.join(directory, relative), { withFileTypes: true })) {
      const name = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory()) {
        if (entry.name !== 'node_modules' && entry.name !== '.git') walk(name);
      } else if (entry.isFile() && !/\.(?:d\.[cm]?ts|map)$/.test(entry.name)) {
        files.push(name);
      }
    }
  };
  walk('');
  return files.toSorted();
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
    json = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8'));
  } catch {
    return undefined;
  }
  const parsed = PackageJson.safeParse(json);
  if (!parsed.success) return undefined;
  const { dependencies, optionalDependencies, peerDependencies, os, cpu, libc, version } = parsed.data;
  const names = new Set([dependencies, optionalDependencies, peerDependencies].flatMap(Object.keys));
  return {
    name,
    directory,
    version: version ?? '',
    dependencies: [...names].filter((dependency) => !dependency.startsWith('@types/')).toSorted(),
    fits: allows(os, 'linux') && allows(cpu, process.arch) && allows(libc, 'glibc'),
  };
}

/** npm's rule for `os`, `cpu` and `libc`: a list of what is allowed, or of what is not (`!win32`). */
function allows(list: readonly string[] | undefined, value: string): boolean {
  if (list === undefined || list.length === 0) return true;
  if (list.includes(`!${value}`)) return false;
  return list.includes(value) || list.every((entry) => entry.startsWith('!'));
}

/** Stops early when package.json names packages that are not there: the bundler would report each import of them. */
export function requireInstalled(directory: string): void {
  let dependencies: unknown;
  try {
    const json: unknown = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8'));
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
