/** Needs of sources besides their imports, as entries of the archive: files as they are, and modules bundled for themselves. */
import path from 'node:path';
import type { Warning } from '../terms/build-error.ts';
import type { PathFinding } from '../reading/findings.ts';
import { asIs, filesAt, filesWith, isLeftOut, statOf } from '../reading/folders.ts';
import { formatOf, renamedEnding } from '../reading/module-format.ts';
import type { Format } from '../terms/names.ts';
import type { OwnSource, OwnSources } from './own-sources.ts';
import type { Places } from '../reading/places.ts';
import { CODE_FILE } from '../reading/syntax.ts';

/** A module that is bundled for itself: a worker, a script, a module that is imported by a computed path. */
export interface OwnModule {
  /** Absolute path of its source. */
  readonly entry: string;
  /** Path in the archive. */
  readonly output: string;
  readonly format: Format;
}

export interface Needs {
  /** Path in the archive → absolute path on disk. */
  readonly copies: Map<string, string>;
  /** By path in the archive. */
  readonly modules: Map<string, OwnModule>;
  readonly warnings: Warning[];
}

/** `helped`: do `files` or `packages` in offshoot.json name what only the run knows? Then there is no warning about it. */
export function needsOf(own: OwnSources, places: Places, root: string, helped: boolean): Needs {
  const needs: Needs = { copies: new Map(), modules: new Map(), warnings: [] };
  const read = new Set<string>();
  for (const source of own.used.values()) {
    for (const { path: file, open, use } of source.paths) if (use === 'data' && !open) read.add(file);
  }
  for (const source of own.used.values()) {
    const said = new Set<string>();
    // One warning for each path, though a constant is read in many places.
    const warn = (at: number, text: string, about: string): void => {
      if (!said.has(about)) needs.warnings.push(own.warning(source, at, text));
      said.add(about);
    };
    for (const found of source.paths) need(found, source, needs, places, root, read, helped, warn);
    if (helped) continue;
    for (const at of source.unknownImports) {
      warn(
        at,
        'only the run knows what is imported here: name it in "packages" or "files" of offshoot.json',
        `import at ${at}`,
      );
    }
  }
  return needs;
}

function need(
  found: PathFinding,
  source: OwnSource,
  needs: Needs,
  places: Places,
  root: string,
  read: ReadonlySet<string>,
  helped: boolean,
  warn: (at: number, text: string, about: string) => void,
): void {
  if ((found.open && found.base) || path.resolve(found.path) === root) {
    if (!helped)
      warn(
        found.at,
        'only the run knows which file this is: name it in "files" of offshoot.json',
        found.path,
      );
    return;
  }
  const shown = path.relative(root, found.path);
  // Before anything is listed: the path may be that of a large folder of the machine.
  if (!places.isKept(found.path)) {
    const text = `${shown} lies outside of the function's folder, so it is not packed: move it into the folder`;
    if (statOf(found.path)) warn(found.at, text, found.path);
    return;
  }
  // Secrets and settings are packed by the author's word only. Of installed packages, a file that is named comes along.
  if (isLeftOut(path.basename(found.path))) return;
  if (/[\\/]node_modules[\\/]/.test(found.path)) {
    if (statOf(found.path)?.isFile()) needs.copies.set(places.of(found.path), found.path);
    return;
  }
  const files = found.open ? filesWith(found.path) : filesAt(found.path, found.use);
  if (files.length === 0 && found.use === 'module' && !found.open) {
    warn(found.at, `there is no file ${shown}`, found.path);
  }
  const single = !found.open && files[0] === found.path;
  for (const file of files) {
    if (found.path === source.file && found.use !== 'module') needs.copies.set(places.of(file), file);
    else if (single) takeOne(file, found, needs, places, read);
    else if (asIs(file, files)) needs.copies.set(places.of(file), file);
    else addModule(needs, places, file, places.of(file));
  }
}

function takeOne(
  file: string,
  { use, tail }: PathFinding,
  needs: Needs,
  places: Places,
  read: ReadonlySet<string>,
): void {
  const place = places.of(file);
  if (!CODE_FILE.test(file) || use === 'data' || (use !== 'module' && read.has(file)))
    needs.copies.set(place, file);
  else addModule(needs, places, file, tail ? outputOf(file, place) : place);
}

function addModule(needs: Needs, places: Places, entry: string, output: string): void {
  if (/\.d\.[cm]?ts$/.test(entry)) needs.copies.set(places.of(entry), entry);
  else needs.modules.set(output, { entry, output, format: formatOf(entry) });
}

/** Code that `files` names and that cannot stay as it is: bundled for itself, under its own name. */
export function addNamedModules(needs: Needs, files: readonly string[], places: Places): void {
  for (const file of files) {
    if (/[\\/]node_modules[\\/]/.test(file) || asIs(file, files)) needs.copies.set(places.of(file), file);
    else addModule(needs, places, file, places.of(file));
  }
}

/** Path in the archive of a module that a literal names. Node strips no types of code that has none, so TypeScript gets an ending. */
function outputOf(file: string, place: string): string {
  return `${place}${renamedEnding(file)}`;
}
