/** A service manager by the protocol of sd_notify(3), for the time of the test. */
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { expect, onTestFinished } from 'vitest';

/**
 * Listens at `socket`, a path or `@NAME`. Messages are added to the returned array, one a line, each after the id of
 * the sending process: `123 READY=1`.
 */
export async function serviceManager(socket: string): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'offshoot-manager-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const program = join(folder, 'manager');
  const source = join(import.meta.dirname, 'service-manager.c');
  await promisify(execFile)('gcc', ['-std=gnu17', '-O1', '-o', program, source]);
  const child = spawn(program, [socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill());
  const said: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => said.push(line));
  await expect.poll(() => said).toEqual(['listening']);
  said.length = 0;
  return said;
}
