/** Tries the whole workload under a filter, on each runtime at once, and returns the first difference. */
import type { Runtime } from '#contract/functions/manifest.ts';
import { type BenchSandbox, SandboxBench } from '../support/sandbox/sandbox-bench.ts';
import type { Image } from './image.ts';
import { type Entry, filterWithout } from './policy.ts';
import type { Step } from './workload.ts';

/**
 * Upper bound on the time of a step, longer than any takes on a slow machine: a step that waits longer waits for ever.
 */
const STEP_MS = 30_000;

export interface Track {
  readonly runtime: Runtime;
  readonly image: Image;
  readonly store: string;
  readonly steps: readonly Step[];
  /** Step → its result under the product's own filter. */
  readonly expected: Map<string, string>;
}

/** Records the expected results. */
export async function learn(track: Track): Promise<void> {
  await track.image.use(await filterWithout([]));
  await everyStep(track, track.steps, (step, got) => {
    track.expected.set(step.name, got);
    return true;
  });
}

/** `node24 basket sharp`: the first difference that the lack of these entries makes, or undefined. `hint`: where to look first. */
export async function firstDifference(
  tracks: readonly Track[],
  without: Iterable<Entry>,
  hint?: string,
): Promise<string | undefined> {
  const filter = await filterWithout(without);
  const named = (track: Track, step: Step): string => `${track.runtime} ${step.name}`;
  let found: string | undefined;
  const compare = async (track: Track, steps: readonly Step[]): Promise<void> => {
    if (steps.length === 0 || found !== undefined) return;
    await everyStep(track, steps, (step, got) => {
      if (got !== track.expected.get(step.name)) found ??= named(track, step);
      return found === undefined;
    });
  };
  await Promise.all(tracks.map(({ image }) => image.use(filter)));
  // First only that one step: the lack of most entries shows within a second.
  for (const track of tracks)
    await compare(
      track,
      track.steps.filter((step) => named(track, step) === hint),
    );
  await Promise.all(tracks.map((track) => compare(track, track.steps)));
  return found;
}

/** Runs steps one by one, those of one function in one sandbox, until `then` returns false. */
async function everyStep(
  track: Track,
  steps: readonly Step[],
  then: (step: Step, got: string) => boolean,
): Promise<void> {
  const bench = await SandboxBench.open(track.runtime, track.image.root, track.store);
  let code: string | undefined;
  let sandbox: BenchSandbox | undefined;
  try {
    for (const step of steps) {
      let got: string;
      try {
        if (code !== step.code) {
          await sandbox?.end();
          sandbox = undefined;
          code = step.code;
          sandbox = await bench.start(code, false, { ...step.options, withinMs: STEP_MS, forget: true });
        }
        got = await inTime(sandbox, step);
      } catch (error) {
        got = `failed: ${String(error)}`;
      }
      if (!then(step, got)) return;
    }
  } finally {
    await sandbox?.end();
    await bench.close();
  }
}

/** A step that hangs is ended with its sandbox. */
async function inTime(sandbox: BenchSandbox | undefined, step: Step): Promise<string> {
  if (!sandbox) throw new Error('its sandbox did not start');
  const clock = setTimeout(() => sandbox.sandbox.kill(), STEP_MS);
  try {
    return await step.run(sandbox);
  } finally {
    clearTimeout(clock);
  }
}
