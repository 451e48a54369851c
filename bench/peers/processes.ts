/** Peers of a cold start: a new Node process, bare or in somebody else's sandbox, until it has printed its first line. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { figure, missing, type Figure } from '../stats.ts';

const SCRIPT = 'console.log("hello")';

export async function processRows(count: number): Promise<Figure[]> {
  const image = join(process.env['OFFSHOOT_STATE'] ?? '', 'images/node26');
  const bwrap = [
    'bwrap',
    '--unshare-all',
    '--ro-bind',
    image,
    '/',
    '--proc',
    '/proc',
    '--dev',
    '/dev',
    '--tmpfs',
    '/tmp',
  ];
  const rows = [
    await timed('node alone, new process', [process.execPath, '-e', SCRIPT], count),
    await timed('bubblewrap + node (same image)', [...bwrap, '/usr/bin/node', '-e', SCRIPT], count),
  ];
  for (const tool of ['docker', 'crun', 'runc']) rows.push(containerRow(tool));
  return rows;
}

async function timed(row: string, [program = '', ...args]: string[], count: number): Promise<Figure> {
  const times: number[] = [];
  for (let round = -2; round < count; round++) {
    const start = performance.now();
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let complaint = '';
    child.stderr.on('data', (text: Buffer) => {
      complaint += text.toString();
    });
    const [first] = await Promise.race([
      once(child.stdout, 'data'),
      once(child, 'close'),
      once(child, 'error'),
    ]);
    if (!Buffer.isBuffer(first))
      return missing(row, 'ms', complaint.trim().split('\n')[0] || `${program} did not run`);
    if (round >= 0) times.push(performance.now() - start);
    if (child.exitCode === null) await once(child, 'close');
  }
  return figure(row, 'ms', times);
}

/** Says why a container engine cannot be measured here; one that can would need images and root, which this run has not. */
function containerRow(tool: string): Figure {
  const probe = tool === 'docker' ? ['info', '--format', '{{.ServerVersion}}'] : ['--version'];
  const { status, stderr, error } = spawnSync(tool, probe, { encoding: 'utf8' });
  const row = `${tool} run + node`;
  if (error) return missing(row, 'ms', `${tool} is not installed`);
  if (status !== 0) return missing(row, 'ms', stderr.trim().split('\n').at(-1) ?? 'refused');
  return missing(
    row,
    'ms',
    tool === 'docker' ? 'needs an image that holds this runtime' : 'needs a cgroup v2 host to run rootless',
  );
}
