/** Places in the archive: each source keeps the path that it has below the function's folder, whatever module holds its code. */
import path from 'node:path';

/** Folder in the archive for sources that lie above the function's folder, once for each step up. */
const ABOVE = '__above__';

export class Places {
  readonly #root: string;
  /** Folder of a package whose code is bundled from its sources → its name. */
  readonly #packages = new Map<string, string>();

  /** `root`: absolute path of the function's folder. */
  constructor(root: string) {
    this.#root = root;
  }

  /** A workspace package, or one that holds TypeScript: its files lie below node_modules in the archive. */
  addPackage(name: string, directory: string): void {
    this.#packages.set(directory, name);
  }

  /** Folder and name of the package among them that a file belongs to; undefined for the function's own files. */
  packageOf(file: string): { readonly name: string; readonly directory: string } | undefined {
    for (let at = path.dirname(file); ; at = path.dirname(at)) {
      const name = this.#packages.get(at);
      if (name !== undefined) return { name, directory: at };
      if (at === path.dirname(at)) return undefined;
    }
  }

  /** Path in the archive of a file or folder on disk. */
  of(file: string): string {
    const found = this.packageOf(path.join(file, '_'));
    if (found)
      return path.posix.join('node_modules', found.name, slashes(path.relative(found.directory, file)));
    const parts = slashes(path.relative(this.#root, file)).split('/');
    return parts.map((part) => (part === '..' ? ABOVE : part)).join('/');
  }

  /** Does a file lie where its relative place to the other sources is kept? */
  isKept(file: string): boolean {
    return !this.of(file).startsWith(ABOVE);
  }
}

export function slashes(file: string): string {
  return file.replaceAll('\\', '/');
}
