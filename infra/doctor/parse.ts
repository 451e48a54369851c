/** Parsers for output of the kernel and system files: text in, values out. */

/** One range of subordinate ids. */
export interface IdRange {
  readonly first: number;
  readonly count: number;
}

/** The ranges of a user in the text of /etc/subuid; entries name the user or its number. */
export function parseSubids(text: string, user: string, uid: number): IdRange[] {
  return text.split('\n').flatMap((line) => {
    const [owner, first, count] = line.trim().split(':');
    if (owner !== user && owner !== String(uid)) return [];
    const range = { first: Number(first), count: Number(count) };
    return Number.isSafeInteger(range.first) && Number.isSafeInteger(range.count) ? [range] : [];
  });
}

/** `6.8.0-45-generic` to [6, 8]. */
export function parseKernelVersion(release: string): readonly [number, number] {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return [Number(major), Number(minor)];
}

export function isAtLeast(
  [major, minor]: readonly [number, number],
  wanted: readonly [number, number],
): boolean {
  return major > wanted[0] || (major === wanted[0] && minor >= wanted[1]);
}

export interface CgroupMount {
  readonly version: 1 | 2;
  readonly path: string;
  /** v1: the controllers of this hierarchy. */
  readonly controllers: readonly string[];
}

/** The cgroup hierarchies of /proc/self/mountinfo: `… path options … - type source options`. */
export function parseCgroupMounts(mountinfo: string): CgroupMount[] {
  return mountinfo.split('\n').flatMap((line): CgroupMount[] => {
    const [place = '', kind = ''] = line.split(' - ');
    const path = place.split(' ')[4];
    const [type, , options = ''] = kind.split(' ');
    if (path === undefined) return [];
    if (type === 'cgroup2') return [{ version: 2, path, controllers: [] }];
    return type === 'cgroup' ? [{ version: 1, path, controllers: options.split(',') }] : [];
  });
}

/** The answer to `CONFIG GET`: the value, or undefined when Redis refused. */
export function parseConfigValue(answer: string): string | undefined {
  const lines = answer.split('\r\n');
  return answer.startsWith('*2') ? lines[4] : undefined;
}

export type RedisTarget = { readonly path: string } | { readonly host: string; readonly port: number };

/** Where a REDIS_URL leads: `unix:///path` or `redis://host:port`. */
export function parseRedisUrl(url: string): RedisTarget {
  const { protocol, pathname, hostname, port } = new URL(url);
  if (protocol === 'unix:') return { path: decodeURIComponent(pathname) };
  return { host: hostname || '127.0.0.1', port: port === '' ? 6379 : Number(port) };
}
