/**
 * Parses REDIS_URL: one server (`redis://`, `rediss://`, `unix://`), the primary that Sentinels know (`redis+sentinel://`), or a
 * Cluster (`redis+cluster://`); `rediss` means TLS. Files of certificates are read here, once.
 */
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import type { RedisOptions } from 'ioredis';

export interface RedisNode {
  readonly host: string;
  readonly port: number;
}

export interface RedisAddress {
  /** Options to reach the server, or any node of the Cluster: credentials, TLS, and the server itself or its Sentinels. */
  readonly options: RedisOptions;
  /** Nodes of a Cluster, from which the client learns the others. */
  readonly cluster?: readonly RedisNode[];
}

const FORMS =
  'use redis://HOST:PORT, unix:///PATH, redis+sentinel://HOST:PORT,HOST:PORT/NAME or redis+cluster://HOST:PORT,HOST:PORT ' +
  '(rediss for TLS)';
const TLS_PARAMETERS = ['ca', 'cert', 'key', 'servername'];
const SENTINEL_PARAMETERS = ['sentinel_username', 'sentinel_password'];
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;

/** An address with several hosts, which `new URL` cannot parse. The password may hold all characters but those that end it. */
const SEVERAL =
  /^(?<scheme>rediss?)\+(?<kind>sentinel|cluster):\/\/(?:(?<user>[^:@/?]*)(?::(?<password>[^@/?]*))?@)?(?<hosts>[^/?@]+)(?<path>\/[^?]*)?(?<query>\?.*)?$/;

/** Throws an Error that names the mistake, without the password. */
export function parseRedisAddress(url: string): RedisAddress {
  const several = SEVERAL.exec(url)?.groups;
  if (several) return parseSeveral(url, several);
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === 'unix:' && parsed.pathname.length > 1) {
    allow(parsed.searchParams, ['db']);
    const db = readDb(parsed.searchParams.get('db') ?? '');
    return { options: { path: decodeURIComponent(parsed.pathname), db, ...credentialsOf(parsed) } };
  }
  if (parsed?.protocol === 'redis:' || parsed?.protocol === 'rediss:') {
    const secure = parsed.protocol === 'rediss:';
    allow(parsed.searchParams, secure ? TLS_PARAMETERS : []);
    return {
      options: {
        host: parsed.hostname.replace(/^\[|\]$/g, '') || '127.0.0.1',
        port: parsed.port ? Number(parsed.port) : REDIS_PORT,
        db: readDb(parsed.pathname.slice(1)),
        ...credentialsOf(parsed),
        ...(secure && { tls: tlsOf(parsed.searchParams) }),
      },
    };
  }
  throw new Error(`"${withoutPassword(url)}" is not the address of a Redis: ${FORMS}`);
}

/** The options of a single server or of Sentinels. Throws when it is the address of a Cluster. */
export function parseRedisUrl(url: string): RedisOptions {
  const { options, cluster } = parseRedisAddress(url);
  if (cluster) throw new Error(`"${withoutPassword(url)}" is a Cluster, where a single Redis is needed`);
  return options;
}

/** The address for logs and errors. */
export function withoutPassword(url: string): string {
  return url.replace(/:[^:@/]*@/, ':***@').replace(/(sentinel_password=)[^&]*/, '$1***');
}

function parseSeveral(url: string, parts: Record<string, string | undefined>): RedisAddress {
  const { scheme, kind, user, password, hosts = '', path = '', query = '' } = parts;
  const parameters = new URLSearchParams(query);
  const secure = scheme === 'rediss';
  const sentinel = kind === 'sentinel';
  allow(parameters, [...(secure ? TLS_PARAMETERS : []), ...(sentinel ? SENTINEL_PARAMETERS : [])]);
  const nodes = hosts.split(',').map((host) => readNode(host, sentinel ? SENTINEL_PORT : REDIS_PORT));
  const tls = secure ? tlsOf(parameters) : undefined;
  const common: RedisOptions = { ...credentialsOf({ username: user, password }), ...(tls && { tls }) };
  if (!sentinel) {
    if (path.length > 1)
      throw new Error(`"${withoutPassword(url)}": a Cluster has no databases; leave "${path}" out`);
    return { options: common, cluster: nodes };
  }
  const [name = '', db = ''] = path.slice(1).split('/');
  if (name === '')
    throw new Error(
      `"${withoutPassword(url)}" does not name the primary: end it with /NAME, as Sentinel calls it`,
    );
  const sentinelUsername = parameters.get('sentinel_username');
  const sentinelPassword = parameters.get('sentinel_password');
  return {
    options: {
      ...common,
      sentinels: nodes.map((node) => ({ ...node })),
      name: decodeURIComponent(name),
      db: readDb(db),
      ...(sentinelUsername !== null && { sentinelUsername }),
      ...(sentinelPassword !== null && { sentinelPassword }),
      ...(tls && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
    },
  };
}

function readNode(text: string, usualPort: number): RedisNode {
  const [, host = '', port = ''] = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(text.trim()) ?? [];
  const number = port === '' ? usualPort : Number(port);
  if (host === '' || number < 1 || number > 65_535)
    throw new Error(`"${text}" is not HOST:PORT; separate several by commas`);
  return { host: host.replace(/^\[|\]$/g, ''), port: number };
}

function readDb(text: string): number {
  const db = Number(text);
  if (!Number.isInteger(db) || db < 0) throw new Error(`"${text}" is not the number of a database of Redis`);
  return db;
}

function credentialsOf({
  username,
  password,
}: {
  username?: string | undefined;
  password?: string | undefined;
}): RedisOptions {
  return {
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
  };
}

/** `ca`, `cert` and `key` are paths of PEM files. The certificate of the server is always checked. */
function tlsOf(parameters: URLSearchParams): ConnectionOptions {
  const read = (name: string): { [name: string]: Buffer } | undefined => {
    const path = parameters.get(name);
    if (path === null) return undefined;
    try {
      return { [name]: readFileSync(path) };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`the file that "${name}" names in the address of Redis cannot be read: ${reason}`, {
        cause: error,
      });
    }
  };
  const servername = parameters.get('servername');
  return { ...read('ca'), ...read('cert'), ...read('key'), ...(servername !== null && { servername }) };
}

/** Refuses unknown parameters: a misspelt one would do nothing, though the security of the connection may depend on it. */
function allow(parameters: URLSearchParams, known: readonly string[]): void {
  for (const name of parameters.keys()) {
    if (known.includes(name)) continue;
    const choice = known.length === 0 ? 'none has a meaning there' : `known there: ${known.join(', ')}`;
    throw new Error(`the address of Redis has the parameter "${name}"; ${choice}`);
  }
}
