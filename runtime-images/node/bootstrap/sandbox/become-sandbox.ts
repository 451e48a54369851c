/**
 * The first thing that runs in a sandbox: what all forks of a zygote would share and must not.
 */
import { setFlagsFromString } from 'node:v8';
import type { ZygoteAddon } from '../main.ts';

/** Draws that may be thrown away, so that a 31-bit seed does not name the whole sequence. A power of two. */
const DISCARDED_DRAWS = 256;

export function becomeSandbox(addon: ZygoteAddon): void {
  refreshRandomness(addon);
  // Node's own exit joins threads that a forked process does not have, and would abort.
  Object.defineProperty(process, 'reallyExit', { value: (code?: number) => addon.exit(code ?? 0) });
  // A process is PID 1 of its own namespace.
  Object.defineProperty(process, 'pid', { value: 1, enumerable: true, configurable: true });
  process.execArgv.length = 0;
}

/**
 * `Math.random` is seeded at its first use, which the zygote avoids, from this flag; without it, all forks would draw
 * from the state that the zygote was started with. OpenSSL reseeds by itself, because its generator sees another pid than
 * the zygote's (2 there, 1 here), and `crypto.randomUUID` keeps a batch that the zygote never fills.
 */
function refreshRandomness(addon: ZygoteAddon): void {
  setFlagsFromString(`--random-seed=${addon.randomSeed() | 1}`);
  for (let left = addon.randomSeed() & (DISCARDED_DRAWS - 1); left >= 0; left--) Math.random();
  // The flag also seeds what V8 draws elsewhere; leave nothing of it behind.
  setFlagsFromString('--random-seed=0');
}
