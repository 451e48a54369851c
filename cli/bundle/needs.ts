/** What sources need besides their imports, as entries of the archive: files as they are, and modules bundled for themselves. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import type { Warning } from './build-error.ts';
import type { PathFinding } from './findings.ts';
import { textOf } from './json-file.ts';
import type { Format } from './names.ts';
import type { OwnSource, OwnSources } from './own-sources.ts';
import type { Places } from './places.ts';
import { CODE_FILE, nameOf, parse, stringOf, TYPESCRIPT_FILE, walk } from './syntax.ts';

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

/** Never packed but where `files` names them: installed packages, version control, secrets. */
const LEFT_OUT = /^(?:node_modules|\.git|\.env.*|offshoot\.json)$/;

/** `helped`: do `files` or `packages` in offshoot.json name what only the run knows? Then there is no warning about it. */
export function needsOf(own: OwnSources, places: Places, root: string, helped: boolean): Needs {
  const needs: Needs = { copies: new Map(), modules: new Map(), warnings: [] };
  const read = new Set<string>();
  for (const source of own.used.values()) {
    for (const { path: file, open, use } of source.paths) if (use === 'data' && !open) read.add(file);
  }
  for (const source of own.used.values()) {
    const warn = (at: number, text: string): void => void needs.warnings.push(own.warning(source, at, text));
    for (const found of source.paths) need(found, source, needs, places, root, read, helped, warn);
    if (helped) continue;
    for (const at of source.unknownImports) {
      warn(at, 'only the run knows what is imported here: name it in "packages" or "files" of offshoot.json');
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
  warn: (at: number, text: string) => void,
): void {
  if ((found.open && found.base) || path.resolve(found.path) === root) {
    if (!helped) warn(found.at, 'only the run knows which file this is: name it in "files" of offshoot.json');
    return;
  }
  const files = found.open ? filesWith(found.path) : filesAt(found.path, found.use);
  if (files.length === 0) {
    if (found.use === 'module' && !found.open)
      warn(found.at, `there is no file ${path.relative(root, found.path)}`);
    return;
  }
  if (!files.every((file) => places.isKept(file))) {
    warn(
      found.at,
      `${path.relative(root, found.path)} lies outside of the function's folder, so it is not packed: move it into the folder`,
    );
    return;
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

/** What is added to the name of a bundled TypeScript module, in the archive and in the literal that names it. */
export function renamedEnding(file: string): string {
  if (!TYPESCRIPT_FILE.test(file) && !file.endsWith('.jsx')) return '';
  return formatOf(file) === 'cjs' ? '.cjs' : '.mjs';
}

/** Format that Node takes a source for. */
export function formatOf(file: string): Format {
  if (/\.c[jt]s$/.test(file)) return 'cjs';
  if (/\.m[jt]s$/.test(file)) return 'esm';
  if (parse(file, readFileSync(file, 'utf8'))?.sourceType === 'module') return 'esm';
  for (let at = path.dirname(file); ; at = path.dirname(at)) {
    const text = textAt(path.join(at, 'package.json'));
    if (text !== undefined) return /"type"\s*:\s*"module"/.test(text) ? 'esm' : 'cjs';
    if (at === path.dirname(at)) return 'cjs';
  }
}

function textAt(file: string): string | undefined {
  try {
    return textOf(readFileSync(file));
  } catch {
    return undefined;
  }
}

/** The file; all below it where it is a folder; the file that Node would add an ending to where a module is meant. */
function filesAt(at: string, use: PathFinding['use']): string[] {
  const found = statSync(at, { throwIfNoEntry: false });
  if (found?.isFile()) return [at];
  if (found?.isDirectory()) return filesBelow(at);
  if (use !== 'module') return [];
  const ending = ['.js', '.json', '.node', '.cjs', '.mjs', '.ts'].find((one) =>
    statSync(at + one, { throwIfNoEntry: false })?.isFile(),
  );
  return ending === undefined ? [] : [at + ending];
}

/** Files whose path begins so: `/a/b/` for all in a folder, `/a/b-` for those of a name. */
function filesWith(beginning: string): string[] {
  const folder = beginning.endsWith(path.sep) ? beginning : path.dirname(beginning);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  return filesBelow(path.resolve(folder)).filter((file) => file.startsWith(beginning));
}

export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (LEFT_OUT.test(entry.name)) return [];
    if (entry.isDirectory()) return filesBelow(file);
    return statSync(file, { throwIfNoEntry: false })?.isFile() ? [file] : [];
  });
}

/** Can a file of a folder stay as it is? Code can where all that it imports is Node's own or comes along. */
export function asIs(file: string, along: readonly string[]): boolean {
  if (!CODE_FILE.test(file) || /\.d\.[cm]?ts$/.test(file)) return true;
  if (!/\.[cm]?js$/.test(file)) return false;
  const program = parse(file, readFileSync(file, 'utf8'));
  if (!program) return true;
  let alone = true;
  walk(program, (node) => {
    const named =
      node.type === 'ImportDeclaration' ||
      node.type === 'ExportAllDeclaration' ||
      node.type === 'ImportExpression'
        ? node.source
        : node.type === 'ExportNamedDeclaration'
          ? (node.source ?? undefined)
          : node.type === 'CallExpression' && nameOf(node.callee) === 'require'
            ? node.arguments[0]
            : undefined;
    const specifier = stringOf(named);
    if (specifier === undefined || isBuiltin(specifier)) return;
    if (!/^\.\.?\//.test(specifier)) alone = false;
    else if (!along.some((one) => one.startsWith(path.resolve(path.dirname(file), specifier)))) alone = false;
  });
  return alone;
}
