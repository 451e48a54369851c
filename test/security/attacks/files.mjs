/** B: the file system, tried from JavaScript. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { attempt, fact } from './attempt.mjs';

export const B1 = (paths) => {
  const names = [
    '/etc/shadow',
    '/etc/passwd',
    '/root',
    '/home',
    '/var/lib',
    '/var/log',
    '/run',
    '/run/offshoot',
    '/work',
    '/srv',
    ...paths,
  ];
  const ways = [
    '',
    '/proc/1/root',
    '/proc/self/root',
    '/proc/self/cwd/../../..',
    '/var/task/../..',
    '/tmp/../..',
    '/../../../..',
  ];
  return names.flatMap((name) =>
    ways.map((way) =>
      fact(way + name, () => {
        try {
          return readFileSync(way + name, 'utf8');
        } catch (error) {
          if (error.code !== 'EISDIR') throw error;
          return readdirSync(way + name).join(' ');
        }
      }),
    ),
  );
};

export const B2 = () =>
  [
    '/usr/bin/node',
    '/opt/offshoot/bootstrap.cjs',
    '/etc/passwd',
    '/var/task/index.mjs',
    '/usr/lib/x86_64-linux-gnu/libc.so.6',
    '/etc/ld.so.preload',
  ].flatMap((path) => [
    attempt(`write ${path}`, () => writeFileSync(path, 'x')),
    attempt(`open r+ ${path}`, () => openSync(path, 'r+')),
    attempt(`truncate ${path}`, () => truncateSync(path)),
    attempt(`chmod ${path}`, () => chmodSync(path, 0o777)),
    attempt(`rename ${path}`, () => renameSync(path, '/tmp/moved')),
    attempt(`link ${path}`, () => linkSync(path, '/tmp/linked')),
  ]);

export const B3 = () => [
  fact('/proc/self/mountinfo', () => readFileSync('/proc/self/mountinfo', 'utf8')),
  fact('statfs /', () => statfsSync('/').type),
];

export const B4 = () => [
  attempt('mount', () => execFileSync('/usr/bin/mount', ['-t', 'tmpfs', 'x', '/tmp'], { stdio: 'pipe' })),
  attempt('umount', () => execFileSync('/usr/bin/umount', ['/tmp'], { stdio: 'pipe' })),
];

export const B5 = () => [
  { call: '/dev', value: readdirSync('/dev').toSorted().join(' ') },
  attempt('write in /dev', () => writeFileSync('/dev/planted', 'x')),
  attempt('replace /dev/null', () => renameSync('/dev/null', '/dev/zero')),
  attempt('link in /dev', () => symlinkSync('/etc/passwd', '/dev/core')),
  attempt('mkdir in /dev', () => mkdirSync('/dev/made')),
  attempt('mknod', () => execFileSync('/usr/bin/mknod', ['/tmp/mem', 'c', '1', '1'], { stdio: 'pipe' })),
];

export const B6 = (paths) =>
  paths.map((path) =>
    attempt(path, () => {
      try {
        return readFileSync(path, 'latin1');
      } catch (error) {
        if (error.code !== 'EISDIR') throw error;
        return readdirSync(path).join(' ');
      }
    }),
  );
export const B7 = B6;

/** Every directory that can be written to, wherever it is. */
function writable(directory, found = []) {
  const probe = `${directory}/.probe`;
  if (attempt('', () => writeFileSync(probe, '')).succeeded) found.push(directory);
  for (const entry of attempt('', () => 0) && safeList(directory)) {
    const path = `${directory === '/' ? '' : directory}/${entry.name}`;
    if (entry.isDirectory() && path !== '/proc') writable(path, found);
  }
  return found;
}

function safeList(directory) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}

const servers = [];

/** Leaves marks everywhere possible: files, an abstract socket. */
export const B13mark = async ([mark]) => {
  const directories = writable('/');
  for (const directory of directories) writeFileSync(`${directory}/${mark}`, mark);
  const server = createServer().listen(`\0${mark}`);
  await new Promise((resolve) => server.once('listening', resolve));
  servers.push(server);
  return directories.map((value) => ({ call: 'marked', value }));
};

export const B13look = async ([mark]) => {
  const { connect } = await import('node:net');
  const seen = writable('/')
    .filter((directory) => existsSync(`${directory}/${mark}`))
    .map((value) => ({ call: 'seen', value }));
  const connected = await new Promise((resolve) => {
    const socket = connect(`\0${mark}`, () => resolve(true));
    socket.on('error', () => resolve(false));
  });
  return connected ? [...seen, { call: 'seen', value: 'abstract socket' }] : seen;
};

export const B14 = () =>
  ['/proc/self/exe', '/proc/1/exe', process.execPath, '/var/task/index.mjs'].flatMap((path) => [
    attempt(`open ${path} r+`, () => openSync(path, 'r+')),
    attempt(`truncate ${path}`, () => truncateSync(path)),
    attempt(`open ${path} again r+`, () => openSync(`/proc/self/fd/${openSync(path)}`, 'r+')),
  ]);

export const B17 = ([levels]) => {
  let depth = 0;
  const made = attempt('mkdir', () => {
    process.chdir('/tmp');
    for (; depth < Number(levels); depth++) {
      mkdirSync('n'.repeat(255));
      process.chdir('n'.repeat(255));
    }
  });
  return [made, { call: 'depth', value: String(depth) }];
};

const events = [];

/** Watches the devices, which are the host's own, and returns the events seen by then. */
export const watchDevices = () => {
  if (events.length === 0) {
    const names = ['null', 'zero', 'full', 'random', 'urandom'];
    for (const name of names)
      attempt('', () => watch(`/dev/${name}`, (type) => events.push(`${type} of ${name}`)));
    events.push('watching');
  }
  return events.map((value) => ({ call: 'event', value }));
};

export const touchDevices = () =>
  ['null', 'zero'].map((name) => attempt(name, () => writeFileSync(`/dev/${name}`, 'x')));
