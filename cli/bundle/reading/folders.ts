/** Files that a path or the beginning of one leads to, and whether they can stay as they are. */
import { readdirSync, readFileSync, statSync, type Stats } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import type { Use } from './uses.ts';
import { CODE_FILE, nameOf, parse, stringOf, walk } from './syntax.ts';

/** Never packed but where `files` names them: installed packages, version control, secrets. */
const LEFT_OUT = /^(?:node_modules|\.git|\.env.*|offshoot\.json)$/;

export function isLeftOut(name: string): boolean {
  return LEFT_OUT.test(name);
}

/** The file; all below it where it is a folder; the file that Node would add an ending to where a module is meant. */
export function filesAt(at: string, use: Use): string[] {
  const found = statOf(at);
  if (found?.isFile()) return [at];
  if (found?.isDirectory()) return filesBelow(at);
  if (use !== 'module') return [];
  const ending = ['.js', '.json', '.node', '.cjs', '.mjs', '.ts'].find((one) => statOf(at + one)?.isFile());
  return ending === undefined ? [] : [at + ending];
}

/** Files whose path begins so: `/a/b/` for all in a folder, `/a/b-` for those of a name. */
export function filesWith(beginning: string): string[] {
  const folder = beginning.endsWith(path.sep) ? beginning : path.dirname(beginning);
  if (!statOf(folder)?.isDirectory()) return [];
  return filesBelow(path.resolve(folder)).filter((file) => file.startsWith(beginning));
}

/** What lies at a path; undefined for nothing, and for a text that is no path. */
export function statOf(file: string): Stats | undefined {
  try {
    return statSync(file, { throwIfNoEntry: false });
  } catch {
    // A null byte, a name that is too long, a folder that cannot be read: texts of sources are of all kinds.
    return undefined;
  }
}

export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (LEFT_OUT.test(entry.name)) return [];
    if (entry.isDirectory()) return filesBelow(file);
    return statOf(file)?.isFile() ? [file] : [];
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
