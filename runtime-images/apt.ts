/**
 * Asks apt for package records, dependency closures and downloads, out of which the images' base is made. None of it needs root.
 */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hashFile, run } from './program.ts';
import { type DebianPackage, isLeftOut } from './lock.ts';

/** One version of a package that apt can fetch. */
export interface PackageRecord extends DebianPackage {
  /** Names in Depends and Pre-Depends; of alternatives the first. */
  readonly depends: readonly string[];
}

/**
 * Reads the stanzas that `apt-cache show` prints. A stanza without a hash describes an installed package that cannot be fetched.
 */
export function parseRecords(text: string): PackageRecord[] {
  return text.split(/\n\n+/).flatMap((stanza) => {
    const field = (name: string): string =>
      new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1]?.trim() ?? '';
    const record = { name: field('Package'), version: field('Version'), sha256: field('SHA256') };
    if (record.name === '' || record.sha256 === '') return [];
    return [{ ...record, depends: parseDependencies(`${field('Pre-Depends')}, ${field('Depends')}`) }];
  });
}

/** Turns `a (>= 1) | b, c:any` into `a`, `c`. */
export function parseDependencies(text: string): string[] {
  return text
    .split(',')
    .map((clause) => clause.split('|')[0]?.trim().split(/[ :(]/)[0] ?? '')
    .filter((name) => name !== '');
}

/** Runs apt with the machine's package lists, or with lists of our own that an ordinary user may refresh. */
export class Apt {
  readonly #options: readonly string[];
  constructor(options: readonly string[] = []) {
    // As root, apt would download as a user of its own, who may not write in our directory, and would warn about it.
    this.#options = ['-oAPT::Sandbox::User=root', ...options];
  }

  /** Returns an apt with fresh package lists in a directory of our own: the machine's lists may be missing or old. */
  static async refreshed(directory: string): Promise<Apt> {
    await mkdir(join(directory, 'lists/partial'), { recursive: true });
    await mkdir(join(directory, 'cache/archives/partial'), { recursive: true });
    const apt = new Apt([
      `-oDir::State::Lists=${join(directory, 'lists')}`,
      `-oDir::Cache=${join(directory, 'cache')}`,
    ]);
    await run('apt-get', [...apt.#options, '-q', 'update']);
    return apt;
  }

  /** Every version of these packages that can be fetched. */
  async versions(names: readonly string[]): Promise<PackageRecord[]> {
    return parseRecords(await this.#show(['--all-versions', ...names]));
  }

  /** The version of each package that apt would choose. */
  async candidates(names: readonly string[]): Promise<PackageRecord[]> {
    return parseRecords(await this.#show(['--no-all-versions', ...names]));
  }

  async #show(args: readonly string[]): Promise<string> {
    try {
      return await run('apt-cache', [...this.#options, 'show', ...args]);
    } catch {
      // apt-cache fails when it knows none of the names; the caller sees which packages are missing from the result.
      return '';
    }
  }

  /** The packages that `roots` need, themselves included, in the versions that apt would choose. */
  async closure(roots: readonly string[], without: readonly string[]): Promise<PackageRecord[]> {
    const found = new Map<string, PackageRecord>();
    let wanted = [...roots];
    while (wanted.length > 0) {
      const records = await this.candidates(wanted);
      for (const record of records) found.set(record.name, record);
      const missing = wanted.filter((name) => !found.has(name));
      if (missing.length > 0) throw new Error(`apt does not know ${missing.join(', ')}`);
      wanted = [...new Set(records.flatMap((record) => record.depends))].filter(
        (name) => !found.has(name) && !isLeftOut(name, without),
      );
    }
    return [...found.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Downloads into an empty directory; returns the paths by sha256. */
  async download(packages: readonly DebianPackage[], directory: string): Promise<Map<string, string>> {
    const names = packages.map(({ name, version }) => `${name}=${version}`);
    await run('apt-get', [...this.#options, '-q', 'download', ...names], directory);
    const paths = new Map<string, string>();
    for (const file of await readdir(directory)) {
      const path = join(directory, file);
      paths.set((await hashFile(path, 'sha256')).toString('hex'), path);
    }
    return paths;
  }
}
