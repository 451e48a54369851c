/** `files` and `packages` of offshoot.json: what comes into the archive, and what stays out, by the author's word. */
import { globSync, statSync } from 'node:fs';
import path from 'node:path';
import { CliError } from '../../terminal/errors.ts';
import { shellWord } from '../../terminal/text.ts';
import { filesBelow } from '../reading/folders.ts';
import { directDependencies, findPackage, type Package } from './packages.ts';

/** Patterns that take in, and those with `!`, which leave out. */
export class Selection {
  readonly #taken: readonly string[];
  readonly #left: readonly string[];

  constructor(patterns: readonly string[]) {
    this.#taken = patterns.filter((pattern) => !pattern.startsWith('!'));
    this.#left = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => pattern.slice(1));
  }

  /** Does it take anything in? */
  get takes(): boolean {
    return this.#taken.length > 0;
  }

  /** Is a path in the archive, or the name of a package, left out? A folder is left out with all in it. */
  leavesOut(name: string): boolean {
    const parts = name.split('/');
    const above = parts.map((_, at) => parts.slice(0, at + 1).join('/'));
    return this.#left.some((pattern) => above.some((one) => path.posix.matchesGlob(one, folderOf(pattern))));
  }

  /** Absolute paths of the files that the patterns take in. Throws where a pattern leads out of the folder, or to nothing. */
  files(directory: string): string[] {
    return this.#taken.flatMap((pattern) => {
      const found = globSync(folderOf(pattern), { cwd: directory }).map((name) =>
        path.resolve(directory, name),
      );
      if (found.some((file) => !file.startsWith(directory + path.sep))) {
        throw refusal(`"files": ${pattern} leads out of the function's folder`, 'move the files into it');
      }
      const files = found.flatMap((file) => (statSync(file).isDirectory() ? filesBelow(file) : [file]));
      if (files.length === 0)
        throw refusal(`"files": nothing matches ${pattern}`, `correct "files" in offshoot.json`);
      return files;
    });
  }

  /** The packages that the patterns take in. Throws where one is not installed. */
  packages(directory: string): Package[] {
    const direct = directDependencies(directory);
    return this.#taken.flatMap((pattern) => {
      const names = pattern.includes('*')
        ? [...direct].filter((name) => path.posix.matchesGlob(name, pattern))
        : [pattern];
      return names.map((name) => {
        const found = findPackage(name, directory);
        if (found) return found;
        const next = `(cd ${shellWord(directory)} && npm install ${shellWord(name)})`;
        throw refusal(`"packages": ${name} is not installed`, next);
      });
    });
  }
}

/** A pattern that ends in `/**` is for all in a folder, also for what begins with a dot, which no `*` matches. */
function folderOf(pattern: string): string {
  return pattern.replace(/(?:\/\*\*)?\/*$/, '');
}

function refusal(message: string, next: string): CliError {
  return new CliError('usage', message, { code: 'bad_manifest', next: `${next}, then: offshoot deploy` });
}
