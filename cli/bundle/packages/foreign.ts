/** Packages as files that were installed for another system, or for another version of Node: refused with the mending command. */
import path from 'node:path';
import { RUNTIME_ABIS } from '#contract/functions/runtimes.ts';
import { CliError } from '../../terminal/errors.ts';
import { shellWord } from '../../terminal/text.ts';
import type { Placement } from './closure.ts';
import { abiOf } from './native.ts';
import { packageFiles } from './package-files.ts';
import { findPackage, packageOfFile, type Package } from './packages.ts';
import type { Project } from '../terms/build.ts';

/** End of the name of a package for one system: `-linux-x64-gnu`, `-darwin-arm64`. */
const SYSTEM =
  /-(?:linux|linuxmusl|darwin|win32|windows|freebsd|android)-(?:x64|arm64|ia32|arm|x86_64|aarch64)(?:-\w+)?$/;

/** Versions of Node by the version of their binary interface, for the error. */
const NODES: Readonly<Record<number, string>> = {
  108: '18',
  115: '20',
  127: '22',
  137: '24',
  141: '25',
  147: '26',
};

/** Throws where a package cannot work on the platform. `sources`: absolute paths of the sources in the bundle. */
export function refuseForeign(
  project: Project,
  packages: readonly Placement[],
  sources: readonly string[],
): void {
  const all = new Map(packages.map(({ package: found }) => [found.directory, found]));
  for (const file of sources) {
    const owner = packageOfFile(file);
    const found = owner && findPackage(owner.name, owner.from);
    if (found) all.set(found.directory, found);
  }
  for (const found of all.values()) refuseOtherSystem(project, found);
  for (const { package: found } of packages) refuseOtherNode(project, found);
}

function refuseOtherSystem({ directory }: Project, found: Package): void {
  const families = Map.groupBy(
    found.optionalDependencies.filter((name) => SYSTEM.test(name)),
    (name) => name.replace(SYSTEM, ''),
  );
  for (const names of families.values()) {
    const installed = names.flatMap((name) => findPackage(name, found.directory) ?? []);
    const wanted = names.filter((name) => /linux/.test(name) && !/musl/.test(name) && isOwnProcessor(name));
    if (wanted.length === 0 || installed.length === 0 || installed.some(({ fits }) => fits)) continue;
    const others = installed.map(({ name }) => name).join(', ');
    throw new CliError(
      'usage',
      `${found.name} is installed for another system: ${others}, and not ${wanted.join(' or ')}`,
      {
        code: 'wrong_system',
        details: { package: found.name, installed: others, wanted },
        next: `(cd ${shellWord(directory)} && npm install --os=linux --cpu=${process.arch} --libc=glibc) && offshoot deploy ${shellWord(directory)}`,
      },
    );
  }
}

function isOwnProcessor(name: string): boolean {
  return process.arch === 'arm64' ? /arm64|aarch64/.test(name) : /x64|x86_64/.test(name);
}

function refuseOtherNode({ directory, manifest }: Project, found: Package): void {
  const wanted = RUNTIME_ABIS[manifest.runtime];
  const addons = packageFiles(found.directory).filter((file) => file.endsWith('.node'));
  const abis = addons.map((file) => abiOf(path.join(found.directory, file)));
  const other = abis.find((abi) => abi !== undefined && abi !== wanted);
  // One that fits, or that is tied to no version, is enough: packages choose among several.
  if (other === undefined || abis.some((abi) => abi === undefined || abi === wanted)) return;
  const built = NODES[other] === undefined ? '' : `Node ${NODES[other]}, `;
  const target = `${manifest.runtime.replace('node', '')}.0.0`;
  throw new CliError(
    'usage',
    `${found.name} ${found.version} was built for ${built}binary interface ${other}; ${manifest.runtime} has ${wanted}`,
    {
      code: 'wrong_abi',
      details: { package: found.name, built: other, wanted },
      next: `(cd ${shellWord(directory)} && npm_config_target=${target} npm rebuild ${found.name}) && offshoot deploy ${shellWord(directory)}`,
    },
  );
}
