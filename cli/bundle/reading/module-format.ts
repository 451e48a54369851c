/** Format and name of a module that is bundled for itself. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { textOf } from '../terms/json-file.ts';
import type { Format } from '../terms/names.ts';
import { parse, TYPESCRIPT_FILE } from './syntax.ts';

/** Ending that the name of a bundled TypeScript module gets, in the archive and in the literal that names it. */
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
