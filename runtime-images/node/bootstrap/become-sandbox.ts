/**
 * The first thing that runs in a sandbox: what all forks of a zygote would share and must not.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import type { ZygoteAddon } from './main.ts';

/** Upper bound of the draws that are thrown away, so that a 31-bit seed does not name the whole sequence. */
const MAX_DISCARDED_DRAWS = 1024;

export function becomeSandbox(addon: ZygoteAddon): void {
  refreshRandomness();
  replaceExit(addon);
  refreshIdentity();
}

/**
 * OpenSSL reseeds by itself: its generator notices that the pid is another than the zygote's (2 there, 1 here).
 * `crypto.randomUUID` keeps a batch that the zygote never fills. `Math.random` is seeded at its first use, which the
 * zygote avoids, from this flag; the process was forked with the state that would have been used otherwise.
 */
function refreshRandomness(): void {
  const seed = (randomBytes(4).readUInt32LE(0) & 0x7fffffff) | 1;
  setFlagsFromString(`--random-seed=${seed}`);
  for (let left = randomInt(MAX_DISCARDED_DRAWS); left > 0; left--) Math.random();
  // The flag also seeds what V8 draws elsewhere; leave nothing of it behind.
  setFlagsFromString('--random-seed=0');
}

/** Node's own exit joins threads that a forked process does not have, and would abort. */
function replaceExit(addon: ZygoteAddon): void {
  Object.defineProperty(process, 'reallyExit', { value: (code?: number) => addon.exit(code ?? 0) });
}

function refreshIdentity(): void {
  // A process is PID 1 of its own namespace.
  Object.defineProperty(process, 'pid', { value: 1, enumerable: true, configurable: true });
  process.execArgv.length = 0;
  process.title = 'offshoot-function';
}
