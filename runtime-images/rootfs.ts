/** Makes the Debian base that all Node images share: one directory, without root, whose name contains the hash of its content. */
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { debPath, type FetchedPackage } from './fetch.ts';
import { digestOf, run } from './program.ts';

/** Version of the code below. Raise it when the same packages would give a different base, so that bases are made anew. */
const LAYOUT = 2;

/** Files without use in a sandbox; half the size of the packages. */
const LEFT_OUT = [
  './usr/share/doc/*',
  './usr/share/man/*',
  './usr/share/info/*',
  './usr/share/locale/*',
  './usr/share/lintian/*',
  './usr/share/bash-completion/*',
  './usr/share/zoneinfo/right/*',
  './usr/lib/*/gconv/*',
  './usr/lib/systemd/*',
  // Links to a directory for keys, which an image has no use for.
  './usr/lib/ssl/private',
  './etc/ssl/private',
  './lib/systemd/*',
  './var/*',
];

/** Old top-level directories that are links into /usr. Packages still put files in them. */
const MERGED = { bin: 'usr/bin', sbin: 'usr/sbin', lib: 'usr/lib', lib64: 'usr/lib64' };

/** Links that Debian's `update-alternatives` would make when the packages are installed. */
const ALTERNATIVES = { awk: 'mawk', which: 'which.debianutils' };

/** Mount points, and directories that programs expect. */
const DIRECTORIES = (
  'dev proc tmp etc root usr/bin usr/sbin usr/lib usr/lib64 ' +
  'run/offshoot/store run/offshoot/scratch var/task var/tmp opt/offshoot'
).split(' ');

/** Files of /etc. Inside, a sandbox is always user 1000, whatever its user outside; programs ask for the user's name and home. */
const ETC: Record<string, string> = {
  passwd:
    'root:x:0:0:root:/root:/usr/sbin/nologin\nsandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n' +
    'nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n',
  group: 'root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n',
  hosts: '127.0.0.1 localhost\n::1 localhost\n',
  hostname: 'sandbox\n',
  'resolv.conf': '',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n',
};

/** Returns the key of a base: the same inputs give the same key and the same content. */
export function baseKey(suite: string, packages: readonly FetchedPackage[]): string {
  const hashes = packages.map(({ sha256 }) => sha256).toSorted();
  return digestOf([LAYOUT, suite, hashes, LEFT_OUT, ALTERNATIVES, DIRECTORIES, ETC]).slice(0, 16);
}

/** Makes the base from packages in the cache at `target`, which must not exist. */
export async function makeBase(
  target: string,
  packages: readonly FetchedPackage[],
  cache: string,
): Promise<void> {
  const root = `${target}.new`;
  await rm(root, { recursive: true, force: true });
  for (const directory of DIRECTORIES) await mkdir(join(root, directory), { recursive: true });
  for (const [link, to] of Object.entries(MERGED)) await symlink(to, join(root, link));
  for (const { sha256 } of packages) await extract(debPath(cache, sha256), root);
  for (const [link, to] of Object.entries(ALTERNATIVES)) await symlink(to, join(root, 'usr/bin', link));
  await writeCertificates(root);
  for (const [name, text] of Object.entries(ETC)) await writeFile(join(root, 'etc', name), text);
  await copyFile('/etc/os-release', join(root, 'etc/os-release'));
  await rm(join(root, 'etc/localtime'), { force: true });
  await symlink('/usr/share/zoneinfo/Etc/UTC', join(root, 'etc/localtime'));
  await plainModes(root);
  await chmod(join(root, 'tmp'), 0o1777);
  await rename(root, target);
}

async function extract(deb: string, root: string): Promise<void> {
  const script =
    'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --no-same-owner --no-same-permissions ' +
    // Packages bring ./lib as a directory; here it is a link into /usr, and must stay one.
    `--keep-directory-symlink ${LEFT_OUT.map((pattern) => `--exclude='${pattern}'`).join(' ')}`;
  await run('bash', ['-o', 'pipefail', '-ec', script, 'extract', deb, root]);
}

/** Writes the file that `update-ca-certificates` would write: every certificate of the package in one. */
async function writeCertificates(root: string): Promise<void> {
  const directory = join(root, 'usr/share/ca-certificates/mozilla');
  const names = (await readdir(directory)).filter((name) => name.endsWith('.crt')).toSorted();
  const texts = await Promise.all(names.map((name) => readFile(join(directory, name), 'utf8')));
  await mkdir(join(root, 'etc/ssl/certs'), { recursive: true });
  await writeFile(
    join(root, 'etc/ssl/certs/ca-certificates.crt'),
    texts.map((text) => `${text.trim()}\n`).join(''),
  );
}

/**
 * Sets plain modes: no set-uid bits, all readable, nothing writable by others. Debian's own modes break each rule in a few
 * places.
 */
async function plainModes(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isSymbolicLink()) continue;
    if (entry.isDirectory()) {
      await chmod(path, 0o755);
      await plainModes(path);
    } else {
      const { mode } = await lstat(path);
      await chmod(path, (mode & 0o100) === 0 ? 0o644 : 0o755);
    }
  }
}
