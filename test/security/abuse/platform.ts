/** Helpers of the attack tests beyond test/support: deploys past the CLI, and facts of the host. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sandboxCgroups } from '../../support/sandbox/cgroup-paths.ts';
import type { Platform } from '../../support/platform/platform.ts';
import { packed, sha256, type Entry } from './archives.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** Uploads an archive and deploys it, as a hostile client of the API would. Returns undefined when it was accepted. */
export async function deployArchive(
  platform: Platform,
  name: string,
  archive: Buffer,
  manifest: Readonly<Record<string, unknown>> = {},
  namespace = 'default',
): Promise<Refusal | undefined> {
  const digest = sha256(archive);
  const uploaded = await fetch(`${platform.url}/api/v1/artifacts/${digest}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${platform.key}`, 'content-type': 'application/gzip' },
    body: new Uint8Array(archive),
  });
  if (!uploaded.ok) return await refusalOf(uploaded);
  const deployed = await platform.api(`/functions/${namespace}/${name}/versions`, {
    method: 'POST',
    body: JSON.stringify({
      digest,
      entryFile: 'index.mjs',
      manifest: { name, access: 'public', ...manifest },
    }),
  });
  if (!deployed.ok) return await refusalOf(deployed);
  await deployed.text();
  return undefined;
}

async function refusalOf(response: Response): Promise<Refusal> {
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  return { status: response.status, code: error.code, message: error.message };
}

/** Deploys one of attacks/, with the native program beside it. Throws when the deploy is refused. */
export async function deployAttack(
  platform: Platform,
  attack: string,
  manifest: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const name = (manifest['name'] as string | undefined) ?? attack;
  const refused = await deployArchive(platform, name, await attackArchive(attack), manifest);
  if (refused) throw new Error(`deploy of ${attack}: ${refused.code}: ${refused.message}`);
}

/** One of attacks/, packed. Two calls give two different archives, since each holds the time. */
export async function attackArchive(attack: string): Promise<Buffer> {
  const entries: Entry[] = [
    [{ name: 'index.mjs' }, await readFile(join(here, 'attacks', `${attack}.mjs`))],
    [{ name: 'abuse', mode: 0o755 }, await nativeProgram()],
  ];
  return await packed(entries);
}

const programs = new Map<string, Promise<Buffer>>();

/** One of the attacks in C (native/NAME.c), as a static program: built once for the tests of a file. */
export function nativeProgram(name = 'abuse'): Promise<Buffer> {
  const known = programs.get(name);
  if (known) return known;
  const built = (async () => {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-abuse-'));
    try {
      const program = join(directory, name);
      await promisify(execFile)('make', ['-s', '-C', join(here, 'native'), `BUILD=${directory}`, program]);
      return await readFile(program);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  })();
  programs.set(name, built);
  return built;
}

/** Facts of the host that an attack must not have changed. */
export interface HostFacts {
  readonly freeMb: number;
  readonly freeInodes: number;
  readonly mounts: number;
}

export async function hostFacts(path: string): Promise<HostFacts> {
  const { bavail, bsize, ffree } = await statfs(path);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').length;
  return { freeMb: (bavail * bsize) / 1024 / 1024, freeInodes: ffree, mounts };
}

/** Resident memory of a process, in MB. */
export function residentMb(pid: number): number {
  return memoryMb(pid, 'VmRSS');
}

/** Peak of the resident memory of a process, in MB. */
export function peakMb(pid: number): number {
  return memoryMb(pid, 'VmHWM');
}

function memoryMb(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024;
}

/** Cgroups of this platform's sandboxes, and the processes in each. */
export function sandboxesOf(platform: Platform): Map<string, number[]> {
  const root = sandboxCgroups();
  const prefix = `${platform.pid('worker')}-`;
  const found = new Map<string, number[]>();
  for (const name of readdirSync(root).filter((entry) => entry.startsWith(prefix))) {
    try {
      const pids = readFileSync(`${root}/${name}/cgroup.procs`, 'utf8').split('\n').filter(Boolean);
      found.set(name.slice(prefix.length), pids.map(Number));
    } catch {
      // Removed since.
    }
  }
  return found;
}

/** Number of processes and threads in the largest sandbox of this platform. */
export function mostTasks(platform: Platform): number {
  const root = sandboxCgroups();
  let most = 0;
  for (const id of sandboxesOf(platform).keys()) {
    try {
      const tasks = readFileSync(`${root}/${platform.pid('worker')}-${id}/pids.current`, 'utf8');
      most = Math.max(most, Number(tasks));
    } catch {
      // Removed since.
    }
  }
  return most;
}

/** Milliseconds until nothing is left of a sandbox: no process, no cgroup. Throws after `withinMs`. */
export async function gone(platform: Platform, sandbox: string, withinMs: number): Promise<number> {
  const start = performance.now();
  for (;;) {
    const waited = performance.now() - start;
    if (!sandboxesOf(platform).has(sandbox)) return waited;
    if (waited > withinMs) throw new Error(`something of sandbox ${sandbox} is left after ${withinMs} ms`);
    await sleep(10);
  }
}
