/** Images and functions for the trials, in a directory of their own in the state directory. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NODE_RUNTIMES } from '../support/runtime/node-runtimes.ts';
import { SandboxBench } from '../support/sandbox/sandbox-bench.ts';
import { Image } from './image.ts';
import { type Track, learn } from './trial.ts';
import { BASKET, storeFunctions, workload } from './workload.ts';

export interface TrialBench {
  readonly tracks: readonly Track[];
  close(): Promise<void>;
}

export async function openTrialBench(): Promise<TrialBench> {
  const state = process.env['OFFSHOOT_STATE'];
  if (!state) throw new Error('OFFSHOOT_STATE is not set; run the tests by: npm run test:seccomp');
  await mkdir(join(state, 'seccomp'), { recursive: true });
  // Beside the images, because the copies are made of hard links.
  const directory = await mkdtemp(join(state, 'seccomp/bench-'));
  const close = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const store = join(directory, 'functions');
    await mkdir(store);
    await storeFunctions(store);
    const tracks: Track[] = [];
    for (const runtime of NODE_RUNTIMES) {
      const image = await Image.copy(runtime, directory);
      const track = { runtime, image, store, steps: workload(await packages(store)), expected: new Map() };
      tracks.push(track);
    }
    await Promise.all(tracks.map(learn));
    return { tracks, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Paths of the basket: Node's own modules first, since they find more differences than others. */
async function packages(store: string): Promise<string[]> {
  const bench = await SandboxBench.open('node26', undefined, store);
  const sandbox = await bench.start('basket', false, BASKET);
  const names = JSON.parse((await sandbox.call()).text) as string[];
  await sandbox.end();
  await bench.close();
  return names.toSorted((a, b) => Number(b.startsWith('node:')) - Number(a.startsWith('node:')));
}
