/**
 * Finds the gateway and the key. Flags come first, then the environment, then the credentials that `offshoot login` stored. On the
 * machine that runs the platform, the admin key in the file of its first start comes last.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { DEFAULT_NAMESPACE } from '#contract/functions/names.ts';
import { CliError } from '../terminal/errors.ts';
import { shellWord } from '../terminal/text.ts';

export const DEFAULT_URL = 'http://127.0.0.1:8787';

const Credentials = z.object({
  /** URL of the last login: what a verb without `--url` talks to. */
  current: z.string().optional(),
  keys: z.record(z.string(), z.object({ key: z.string(), namespace: z.string().optional() })).default({}),
});
type Credentials = z.infer<typeof Credentials>;

export interface Target {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: string | undefined;
  /** Namespace that is meant when none is named. */
  readonly namespace: string;
}

export interface TargetFlags {
  readonly url?: string | undefined;
  readonly key?: string | undefined;
  readonly namespace?: string | undefined;
}

type Env = Readonly<Record<string, string | undefined>>;

/** Where `offshoot login` keeps keys (XDG base directories). */
export function credentialsFile(env: Env = process.env): string {
  const base = env['XDG_CONFIG_HOME'] || path.join(env['HOME'] || homedir(), '.config');
  return path.join(base, 'offshoot', 'credentials.json');
}

/** Resolves flags, environment and stored credentials to one target. */
export function findTarget(flags: TargetFlags, env: Env = process.env): Target {
  const stored = readCredentials(credentialsFile(env));
  const url = normaliseUrl(flags.url ?? (env['OFFSHOOT_URL'] || stored.current) ?? DEFAULT_URL);
  const entry = stored.keys[url];
  const key = flags.key ?? (env['OFFSHOOT_API_KEY'] || entry?.key) ?? findLocalKey(url, env);
  const own = entry?.namespace === '*' ? undefined : entry?.namespace;
  const namespace = flags.namespace ?? (env['OFFSHOOT_NAMESPACE'] || own) ?? DEFAULT_NAMESPACE;
  return { url, key, namespace };
}

/** An absolute http(s) URL without a slash at its end, or an error that says what is wrong with it. */
export function normaliseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') {
    return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  }
  throw new CliError(
    'usage',
    `"${text}" is not the URL of a gateway: it must start with http:// or https://`,
    {
      code: 'bad_url',
      next: `offshoot login --url ${DEFAULT_URL}`,
    },
  );
}

/** Advice for a key that a gateway has refused. */
export interface Remedy {
  readonly lines: readonly string[];
  readonly next: string;
}

/**
 * A stored key outlives its installation: the next one at the same address does not know it. Undefined where that is not sure.
 * The answer names the admin key of this machine and does not use it: a user with a key of one namespace must not become an
 * administrator without notice.
 */
export function remedyOfRefusal({ url, key }: Target, env: Env = process.env): Remedy | undefined {
  const local = findLocalAdminKey(url, env);
  if (!local || key === undefined || key === local.key) return undefined;
  const file = credentialsFile(env);
  const fromEnvironment = key === env['OFFSHOOT_API_KEY'];
  if (!fromEnvironment && key !== readCredentials(file).keys[url]?.key) return undefined;
  const login = `offshoot login --url ${shellWord(url)}`;
  return {
    lines: [
      `the key in ${fromEnvironment ? 'OFFSHOOT_API_KEY' : file} is of another installation, or was removed;`,
      `that of the platform on this machine is in ${local.file}`,
    ],
    next: fromEnvironment ? `unset OFFSHOOT_API_KEY; ${login}` : login,
  };
}

/** The admin key of a platform on this machine. */
export function findLocalKey(url: string, env: Env = process.env): string | undefined {
  return findLocalAdminKey(url, env)?.key;
}

/**
 * Only for the default URL, or for another loopback one when OFFSHOOT_STATE names the platform's state: the key must not be
 * offered to a stranger's server.
 */
function findLocalAdminKey(
  url: string,
  env: Env,
): { readonly key: string; readonly file: string } | undefined {
  const state = env['OFFSHOOT_STATE'];
  if (url !== DEFAULT_URL && !(state && isLoopback(url))) return undefined;
  const userState = env['XDG_STATE_HOME'] || path.join(env['HOME'] || homedir(), '.local', 'state');
  const candidates = state ? [state] : ['/var/lib/offshoot', path.join(userState, 'offshoot')];
  for (const directory of candidates) {
    const file = path.join(directory, 'admin-key');
    try {
      const key = readFileSync(file, 'utf8').trim();
      if (key !== '') return { key, file };
    } catch {
      // Not there, or not for this user to read: the next place may do.
    }
  }
  return undefined;
}

function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** Keeps a key that the gateway has accepted, readable by this user only, and makes its URL the current one. */
export function storeKey(url: string, key: string, namespace: string, env: Env = process.env): string {
  const file = credentialsFile(env);
  const credentials = readCredentials(file);
  credentials.current = url;
  credentials.keys[url] = { key, namespace };
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  // Written beside and renamed, so that a crash leaves the old file or the new one, and never a readable half.
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(credentials, undefined, 2)}\n`, { mode: 0o600 });
  chmodSync(temporary, 0o600);
  renameSync(temporary, file);
  return file;
}

function readCredentials(file: string): Credentials {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return { keys: {} };
  }
  try {
    return Credentials.parse(JSON.parse(text));
  } catch (error) {
    throw new CliError('usage', `${file} cannot be read as stored credentials`, {
      code: 'bad_credentials',
      next: `rm ${file} && offshoot login`,
      cause: error,
    });
  }
}
