/**
 * Container engines, where the host has them and this user may run them: each is tried once, and reports itself why it
 * cannot run. They get the same runtime image as the sandboxes, read-only.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import type { Contestant } from '../measure/interleave.ts';
import { firstOutput, scriptInImage } from './processes.ts';

const run = promisify(execFile);
const PROBE_MS = 30_000;
const NODE = ['/usr/bin/node', scriptInImage];

export interface Engines {
  readonly contestants: Contestant<number>[];
  readonly stop: () => Promise<void>;
}

interface Host {
  readonly image: string;
  /** Holds the script. */
  readonly directory: string;
  readonly temporary: string;
  readonly turns: number;
}

/** An engine that cannot run becomes a contestant that fails with the engine's own words. */
export async function containerEngines(host: Host): Promise<Engines> {
  const image = await realpath(host.image);
  const bundle = join(host.temporary, 'bundle');
  await mkdir(bundle, { recursive: true });
  await writeFile(join(bundle, 'config.json'), JSON.stringify(ociConfig(image, host.directory)));
  const root = join(host.temporary, 'oci');
  const oci = (tool: string, ...flags: string[]): Contestant<number> => {
    const command = [
      tool,
      '--root',
      root,
      ...flags,
      'run',
      '--bundle',
      bundle,
      `offshoot-bench-${process.pid}`,
    ];
    return firstOutput(`${tool} run + node (same image)`, command, host.turns);
  };
  const docker = await dockerEngine(image, host);
  return {
    contestants: [docker.contestant, oci('crun'), oci('runc', '--rootless', 'true')],
    stop: docker.stop,
  };
}

async function dockerEngine(
  image: string,
  { directory, turns }: Host,
): Promise<{ contestant: Contestant<number>; stop: () => Promise<void> }> {
  const tag = `offshoot-bench:${process.pid}`;
  const volume = `${directory}:/var/task:ro`;
  const command = ['docker', 'run', '--rm', '--network=none', '--volume', volume, tag, ...NODE];
  const contestant = firstOutput('docker run + node (same image)', command, turns);
  try {
    await run('docker', ['info', '--format', '{{.ServerVersion}}'], { timeout: PROBE_MS });
    await importImage(image, tag);
  } catch (error) {
    const reason = refusal(error);
    const turn = (): Promise<number> => Promise.reject(new Error(reason));
    return { contestant: { ...contestant, turn }, stop: async () => undefined };
  }
  const stop = async (): Promise<void> => {
    await run('docker', ['rmi', '--force', tag]).catch(() => undefined);
  };
  return { contestant, stop };
}

/** docker runs only images of its own store. */
async function importImage(image: string, tag: string): Promise<void> {
  const tar = spawn('tar', ['-C', image, '-c', '.'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const load = spawn('docker', ['import', '-', tag], { stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = once(load, 'close') as Promise<[number | null]>;
  await pipeline(tar.stdout, load.stdin);
  const [code] = await ended;
  if (code !== 0) throw new Error('docker import of the runtime image failed');
}

function refusal(error: unknown): string {
  const { stderr, code, message } = error as { stderr?: string; code?: unknown; message?: string };
  if (code === 'ENOENT') return 'docker is not installed';
  return stderr?.trim().split('\n').at(-1) || message || 'docker refused';
}

/** A rootless container with the namespaces that our sandboxes have; no limits, no system call filter. */
function ociConfig(image: string, directory: string): object {
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args: NODE,
      env: ['PATH=/usr/bin:/bin'],
      cwd: '/',
      noNewPrivileges: true,
    },
    root: { path: image, readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      tmpfs('/dev'),
      tmpfs('/tmp'),
      { destination: '/var/task', type: 'bind', source: directory, options: ['rbind', 'ro'] },
    ],
    linux: {
      uidMappings: identity(process.getuid?.()),
      gidMappings: identity(process.getgid?.()),
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'user', 'cgroup'].map((type) => ({ type })),
    },
  };
}

/** Root inside is this user outside. */
function identity(id: number | undefined): object[] {
  return [{ containerID: 0, hostID: id ?? 0, size: 1 }];
}

function tmpfs(destination: string): object {
  return { destination, type: 'tmpfs', source: 'tmpfs' };
}
