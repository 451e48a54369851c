/** Looks for the npm packages that a function's package.json names. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { textOf } from './json-file.ts';
import { CliError } from '../terminal/errors.ts';
import { shellWord } from '../terminal/text.ts';

/** Stops early when package.json names packages that are not there: the bundler would report each import of them. */
export function requireInstalled(directory: string): void {
  let dependencies: unknown;
  try {
    const json: unknown = JSON.parse(textOf(readFileSync(path.join(directory, 'package.json'))));
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
