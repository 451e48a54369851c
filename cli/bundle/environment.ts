/** A file of environment variables beside offshoot.json: it is not packed, and its author may expect it to be. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseEnv } from 'node:util';
import type { Warning } from './terms/build-error.ts';
import type { Project } from './terms/build.ts';

/** One warning where `.env` has variables that `env` in offshoot.json does not have. */
export function environmentWarnings({ directory, manifest }: Project): Warning[] {
  let text: string;
  try {
    text = readFileSync(path.join(directory, '.env'), 'utf8');
  } catch {
    return [];
  }
  const absent = Object.keys(parseEnv(text)).filter((name) => manifest.env[name] === undefined);
  if (absent.length === 0 || manifest.files.includes('.env')) return [];
  const shown =
    absent.length > 5 ? `${absent.slice(0, 5).join(', ')} and ${absent.length - 5} more` : absent.join(', ');
  return [{ text: `.env is not packed: put ${shown} into "env" of offshoot.json`, location: null }];
}
