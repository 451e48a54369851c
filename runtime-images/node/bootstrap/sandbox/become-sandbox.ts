/** Runs first in a new sandbox and renews the state that all forks of a zygote would otherwise share, such as randomness. */
import { setFlagsFromString } from 'node:v8';
import type { ZygoteAddon } from '../runtime/addon.ts';

/** Upper bound on draws that are discarded, so that a 31-bit seed does not determine the sequence. A power of two. */
const DISCARDED_DRAWS = 256;

/** `beforeExit` runs last in a process that code of the function ends, after the function's own listeners. */
export function becomeSandbox(addon: ZygoteAddon, beforeExit: (code: number) => void): void {
  refreshRandomness(addon);
  // Node's own exit joins threads that do not exist in a forked process, and would abort.
  const reallyExit = (code = 0): never => {
    beforeExit(code);
    return addon.exit(code);
  };
  Object.defineProperty(process, 'reallyExit', { value: reallyExit });
  // The process is PID 1 of its own namespace.
  Object.defineProperty(process, 'pid', { value: 1, enumerable: true, configurable: true });
  process.execArgv.length = 0;
}

/**
 * Gives this fork random numbers of its own. V8 seeds `Math.random` from this flag at the first use, which the zygote avoids;
 * without the flag, all forks would continue the zygote's state. OpenSSL reseeds by itself: its generator sees a new pid (2 in
 * the zygote, 1 here). `crypto.randomUUID` draws from a batch that the zygote never fills.
 */
function refreshRandomness(addon: ZygoteAddon): void {
  setFlagsFromString(`--random-seed=${addon.randomSeed() | 1}`);
  for (let left = addon.randomSeed() & (DISCARDED_DRAWS - 1); left >= 0; left--) Math.random();
  // The flag also seeds other draws of V8, so reset it.
  setFlagsFromString('--random-seed=0');
}
