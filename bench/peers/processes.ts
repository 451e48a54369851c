/**
 * Peers of a cold start: a new Node process, bare or in another project's sandbox, until it has printed its first line.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Contestant } from '../measure/interleave.ts';

/** As `scriptInImage` in an image, and `join(directory, HELLO_FILE)` outside. */
const HELLO_FILE = 'hello.mjs';
export const scriptInImage = `/var/task/${HELLO_FILE}`;
const WARM_UP = 2;

export async function helloDirectory(temporary: string): Promise<string> {
  const directory = join(temporary, 'hello');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, HELLO_FILE), "console.log('hello');\n");
  return directory;
}

export function nodeAlone(directory: string, turns: number): Contestant<number> {
  return firstOutput('node alone, new process', [process.execPath, join(directory, HELLO_FILE)], turns);
}

export function bubblewrap(image: string, directory: string, turns: number): Contestant<number> {
  const sandbox = ['--unshare-all', '--die-with-parent', '--ro-bind', image, '/'];
  const mounts = ['--ro-bind', directory, '/var/task', '--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'];
  const command = ['bwrap', ...sandbox, ...mounts, '/usr/bin/node', scriptInImage];
  return firstOutput('bubblewrap + node (same image)', command, turns);
}

/** A contestant that starts a program and returns the milliseconds until its first output. */
export function firstOutput(row: string, command: readonly string[], turns: number): Contestant<number> {
  return { row, turns, warmUp: WARM_UP, turn: () => timeToOutput(command) };
}

async function timeToOutput([program = '', ...args]: readonly string[]): Promise<number> {
  const start = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => {
    complaint += text.toString();
  });
  let took: number | undefined;
  child.stdout.once('data', () => {
    took = performance.now() - start;
  });
  // Rejects when the program could not be started. It waits for the program's end, so that the next turn starts
  // undisturbed.
  await once(child, 'close').catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new Error(`${program} is not installed`) : error;
  });
  if (took === undefined)
    throw new Error(complaint.trim().split('\n').at(-1) || `${program} printed nothing`);
  return took;
}
