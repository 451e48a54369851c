/** A: Linux namespaces, processes, credentials, tried from JavaScript. */
import { execFileSync, spawn } from 'node:child_process';
import { openSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { attempt, fact } from './attempt.mjs';

const NAMESPACES = ['user', 'pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup'];
const run = (file, ...args) => execFileSync(file, args, { stdio: 'pipe' });

export const A1 = () =>
  NAMESPACES.map((name) => fact(`/proc/self/ns/${name}`, () => readlinkSync(`/proc/self/ns/${name}`)));

export const A2 = () => [fact('/proc/self/status', () => readFileSync('/proc/self/status', 'utf8'))];

export const A3 = () => [
  ...['uid_map', 'gid_map', 'setgroups'].map((name) =>
    fact(`/proc/self/${name}`, () => readFileSync(`/proc/self/${name}`, 'utf8')),
  ),
  attempt('write uid_map', () => writeFileSync('/proc/self/uid_map', '0 0 1')),
  attempt('write gid_map', () => writeFileSync('/proc/self/gid_map', '0 0 1')),
  attempt('write setgroups', () => writeFileSync('/proc/self/setgroups', 'allow')),
  attempt('setuid(0)', () => process.setuid(0)),
  attempt('setgid(0)', () => process.setgid(0)),
  attempt('setegid(0)', () => process.setegid(0)),
  attempt('seteuid(0)', () => process.seteuid(0)),
  attempt('setgroups(0)', () => process.setgroups([0])),
  attempt('initgroups', () => process.initgroups(0, 0)),
];

/** Programs of the image with set-id bits, and those that ask for a password or change the root. */
export const A4 = () =>
  ['su', 'passwd', 'newgrp', 'chsh', 'mount', 'umount', 'gpasswd', 'chfn']
    .flatMap((name) => [`/usr/bin/${name}`, `/bin/${name}`, `/usr/sbin/${name}`])
    .map((path) => fact(path, () => run(path, '-c', 'id -u')));

export const A5 = () => [
  attempt('chroot', () => run('/usr/sbin/chroot', '/', '/bin/true')),
  attempt('chroot of coreutils', () => run('/usr/bin/chroot', '/', '/bin/true')),
  attempt('unshare', () => run('/usr/bin/unshare', '--user', '--map-root-user', '/bin/true')),
  attempt('nsenter', () => run('/usr/bin/nsenter', '--target', '1', '--all', '/bin/true')),
];

export const A6 = () =>
  ['1', 'self'].flatMap((pid) =>
    NAMESPACES.map((name) =>
      attempt(`nsenter by /proc/${pid}/ns/${name}`, () => {
        const fd = openSync(`/proc/${pid}/ns/${name}`);
        return run('/usr/bin/nsenter', `--${name}=/proc/self/fd/${fd}`, '/bin/true');
      }),
    ),
  );

export const A7 = () => {
  const found = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((value) => ({ call: 'listed', value }));
  for (let pid = 1; pid <= 32_768; pid++) {
    const { succeeded, errno } = attempt('', () => process.kill(pid, 0));
    if (succeeded) found.push({ call: 'alive', value: String(pid) });
    else if (errno !== 'ESRCH') found.push({ call: 'signal forbidden, so it is there', value: String(pid) });
  }
  return [...found, { call: 'self', value: String(process.pid) }];
};

export const A8 = (pids) =>
  ['1', 'self', ...pids].flatMap((pid) =>
    ['mem', 'environ', 'auxv', 'stack', 'syscall', 'root/etc/hostname', 'cwd/index.mjs', 'fd/0']
      // A process may read about itself.
      .filter((file) => (pid !== '1' && pid !== 'self' ? true : ['mem', 'environ', 'stack'].includes(file)))
      .map((file) => attempt(`/proc/${pid}/${file}`, () => readFileSync(`/proc/${pid}/${file}`))),
  );

/** The host's processes first: a later signal ends the sandbox of the attack. */
export const A9 = (pids) => [
  ...pids.map((pid) => attempt(`kill(${pid}, SIGKILL)`, () => process.kill(Number(pid), 'SIGKILL'))),
  attempt('kill(-1, SIGKILL)', () => process.kill(-1, 'SIGKILL')),
  // By a child: a signal of the runtime to itself takes effect, and would end it.
  attempt('kill(1, SIGKILL)', () => run('/bin/sh', '-c', 'kill -KILL 1')),
  attempt('kill(1, SIGKILL)', () => process.kill(1, 'SIGKILL')),
];

export const A11 = () => {
  const child = spawn(
    '/bin/sh',
    ['-c', 'trap "" HUP INT TERM USR1 USR2; (sleep 1000 & sleep 1000) & sleep 1000'],
    { detached: true, stdio: 'ignore' },
  );
  child.unref();
  return [{ call: 'daemon', value: 'started' }];
};

export const A12 = async () => {
  // By a child: a signal of the runtime to itself takes effect, and would end it.
  run('/bin/sh', '-c', 'kill -USR1 1');
  await sleep(300);
  const errno = await new Promise((resolve) => {
    const socket = connect(9229, '127.0.0.1', () => resolve(undefined));
    socket.on('error', (error) => resolve(error.code));
  });
  return [{ call: 'connect 127.0.0.1:9229', succeeded: errno === undefined, errno }];
};

export const A14 = () => [
  ...['cwd', 'root', 'exe'].map((name) =>
    fact(`/proc/self/${name}`, () => readlinkSync(`/proc/self/${name}`)),
  ),
  fact('getcwd', () => process.cwd()),
  fact('getcwd above', () => {
    process.chdir('../../../../../../..');
    const above = process.cwd();
    process.chdir('/var/task');
    return above;
  }),
];
