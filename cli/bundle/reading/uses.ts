/** Uses of a path, by the name of the function that gets it. */
import type { Node } from 'oxc-parser';
import { bare, nameOf } from './syntax.ts';

/** How a path is used: read as bytes, run as a module, or either. */
export type Use = 'data' | 'module' | 'unknown';

// oxfmt-ignore
const READS: ReadonlySet<string> = new Set([
  'readFile', 'readFileSync', 'createReadStream', 'open', 'openSync', 'openAsBlob', 'readdir', 'readdirSync', 'opendir',
  'opendirSync', 'stat', 'statSync', 'lstat', 'lstatSync', 'access', 'accessSync', 'exists', 'existsSync', 'cp', 'cpSync',
  'copyFile', 'copyFileSync', 'watch', 'watchFile', 'loadEnvFile', 'readFileUtf8', 'readJson', 'readJSON', 'readJsonSync',
]);
// oxfmt-ignore
const WRITES: ReadonlySet<string> = new Set([
  'writeFile', 'writeFileSync', 'appendFile', 'appendFileSync', 'mkdir', 'mkdirSync', 'mkdtemp', 'mkdtempSync',
  'createWriteStream', 'rm', 'rmSync', 'unlink', 'unlinkSync', 'chdir',
]);
const RUNS: ReadonlySet<string> = new Set([
  'Worker',
  'fork',
  'require',
  'register',
  'pool',
  'Piscina',
  'Tinypool',
]);

/** Use of the expression below these nodes; `write` for a file that the run makes. */
export function useOf(above: readonly Node[]): Use | 'write' {
  for (const one of above.toReversed()) {
    if (one.type === 'ImportExpression') return 'module';
    if (one.type === 'CallExpression' || one.type === 'NewExpression') {
      const name = nameOf(one.callee);
      if (name === undefined) return 'unknown';
      if (READS.has(name)) return 'data';
      if (WRITES.has(name)) return 'write';
      return RUNS.has(name) ? 'module' : 'unknown';
    }
    if (bare(one) === one && one.type !== 'MemberExpression' && one.type !== 'SpreadElement')
      return 'unknown';
  }
  return 'unknown';
}
