/** C: the system calls that JavaScript alone can reach; the native attacks do the rest. */
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, fact } from './attempt.mjs';

/** A 32-bit program that the test has laid beside the code: exit(42) by int 0x80. */
export const C2 = () => {
  try {
    execFileSync('/var/task/program32', { stdio: 'pipe' });
    return [{ call: 'a 32-bit program', succeeded: true }];
  } catch (error) {
    const { signal, status, code } = error;
    return [
      {
        call: 'a 32-bit program',
        succeeded: status !== null && status !== undefined,
        signal,
        errno: code ?? `exit ${status}`,
      },
    ];
  }
};

/** libuv would use a ring for files if it could. */
export const C4 = () => {
  const script =
    "const fs=require('fs');fs.writeFileSync('/tmp/ring','ok');fs.promises.readFile('/tmp/ring','utf8').then(t=>console.log(t+' '+fs.readdirSync('/proc/self/fd').map(f=>{try{return fs.readlinkSync('/proc/self/fd/'+f)}catch{return ''}}).filter(t=>t.includes('io_uring')).length))";
  return [
    fact('node with UV_USE_IO_URING=1', () =>
      execFileSync('/usr/bin/node', ['-e', script], { env: { UV_USE_IO_URING: '1' }, stdio: 'pipe' }),
    ),
  ];
};

export const C8 = () => [
  attempt('setarch', () => execFileSync('/usr/bin/setarch', ['-R', '/bin/true'], { stdio: 'pipe' })),
  attempt('write personality', () => writeFileSync('/proc/self/personality', '00040000')),
  attempt('read personality', () => readFileSync('/proc/self/personality', 'utf8')),
];

const status = (field) =>
  new RegExp(`^${field}:\\s+(.*)$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 'not told';

const opens = (path) => {
  try {
    closeSync(openSync(path, 'r+'));
    return true;
  } catch {
    return false;
  }
};

function* filesUnder(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* filesUnder(path);
    else if (entry.isFile()) yield path;
  }
}

/** The first id inside and the number of ids; the ids of the host behind them differ between sandboxes. */
function insideIds(map) {
  const [first, , count] = readFileSync(`/proc/self/${map}`, 'utf8').trim().split(/ +/);
  return `${first}, ${count} in all`;
}

/** Points that scanners check to tell which container holds a process, and how it might get out. */
const SCAN = {
  capabilities: () => ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map(status),
  'no new privileges': () => status('NoNewPrivs'),
  'system call filter': () => status('Seccomp'),
  'users of the namespace': () => insideIds('uid_map'),
  'groups of the namespace': () => insideIds('gid_map'),
  'programs running': () =>
    readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .map((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()),
  'signs of a container engine': () =>
    ['/.dockerenv', '/run/.containerenv', '/.dockerinit', '/run/systemd/container', '/run/secrets'].filter(
      existsSync,
    ),
  'control sockets of an engine': () =>
    [
      '/var/run/docker.sock',
      '/run/docker.sock',
      '/run/containerd/containerd.sock',
      '/run/crio/crio.sock',
      '/run/podman/podman.sock',
      '/run/dbus/system_bus_socket',
      '/run/systemd/private',
    ].filter(existsSync),
  'credentials of a cluster or a cloud': () =>
    [
      '/var/run/secrets/kubernetes.io/serviceaccount/token',
      '/root/.kube/config',
      '/root/.aws/credentials',
      '/root/.docker/config.json',
      '/root/.ssh',
      '/home',
    ].filter((path) => existsSync(path) && readdirSync(path, { recursive: true }).length > 0),
  'names in the environment': () => Object.keys(process.env).toSorted(),
  devices: () => readdirSync('/dev').toSorted(),
  mounts: () =>
    readFileSync('/proc/self/mounts', 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      // The code lies on whatever file system the host keeps it on.
      .map(([, where, type, options]) => [
        where,
        where === '/var/task' ? 'of the host' : where.startsWith('/dev/') ? 'device' : type,
        options.split(',')[0],
      ])
      .map((parts) => parts.join(' '))
      .toSorted(),
  'files of the kernel that open for writing': () =>
    [
      '/proc/sys/kernel/core_pattern',
      '/proc/sys/kernel/modprobe',
      '/proc/sys/kernel/hostname',
      '/proc/sys/vm/panic_on_oom',
      '/proc/sys/fs/binfmt_misc/register',
      '/proc/sysrq-trigger',
      '/proc/kcore',
      '/proc/kmem',
      '/proc/mem',
      '/proc/self/uid_map',
      '/proc/self/setgroups',
      '/sys/kernel/uevent_helper',
      '/sys/kernel/debug',
      '/sys/fs/cgroup/release_agent',
      '/sys/fs/cgroup/cgroup.procs',
      '/dev/mem',
      '/dev/kmsg',
      '/dev/fuse',
      '/dev/kvm',
      '/dev/net/tun',
    ].filter(opens),
  'programs that run as their owner': () =>
    ['/usr', '/etc', '/opt']
      .flatMap((root) => [...filesUnder(root)])
      .filter((path) => (statSync(path).mode & 0o6000) !== 0),
  'network interfaces': () =>
    readFileSync('/proc/net/dev', 'utf8')
      .split('\n')
      .slice(2)
      .map((line) => line.split(':')[0].trim())
      .filter((name) => name !== ''),
  routes: () => readFileSync('/proc/net/route', 'utf8').trim().split('\n').slice(1),
  'tcp sockets of others': () => readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1),
  'kernel addresses': () => {
    const lines = existsSync('/proc/kallsyms') ? readFileSync('/proc/kallsyms', 'utf8').split('\n') : [];
    return lines.filter((line) => line !== '' && !/^0+ /.test(line)).slice(0, 3);
  },
};

export const C11 = () => Object.entries(SCAN).map(([call, look]) => fact(call, () => JSON.stringify(look())));
