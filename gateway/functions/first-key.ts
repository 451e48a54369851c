/** Makes the first API key of an installation, without which no client could make any other. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Scope } from '#contract/api/api.ts';
import { EVERY_NAMESPACE } from '#contract/functions/names.ts';
import { API_KEY_PREFIX, type ApiKeyStore } from './api-keys.ts';

/**
 * Ensures that there is an admin key. Returns a new key, so that it can be shown this once.
 *
 * The key goes to the file before it goes to Redis. So a crash in between leaves a key that works after the next start.
 * When Redis has lost its data, the key in the file is registered again.
 */
export async function ensureFirstKey(store: ApiKeyStore, file: string): Promise<string | undefined> {
  if (!(await store.isEmpty())) return undefined;
  await mkdir(dirname(file), { recursive: true });
  const key = API_KEY_PREFIX + randomBytes(32).toString('base64url');
  const isNew = await writeNew(file, `${key}\n`);
  const kept = isNew ? key : (await readFile(file, 'utf8')).trim();
  if (!kept.startsWith(API_KEY_PREFIX))
    throw new Error(`${file} does not hold an API key; remove it and start again`);
  await store.add(EVERY_NAMESPACE, Scope.options, kept);
  return isNew ? key : undefined;
}

/** False when the file exists already, perhaps because another gateway has just made it. */
async function writeNew(path: string, text: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}
