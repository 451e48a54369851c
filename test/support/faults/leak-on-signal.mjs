// Loaded into a process before its program (--import): keeps a descriptor open at SIGUSR2, and closes it at the next
// one. The control of a test for leaks must find it.
import { closeSync, openSync } from 'node:fs';

let kept;
process.on('SIGUSR2', () => {
  if (kept === undefined) {
    kept = openSync('/dev/full', 'r');
    return;
  }
  closeSync(kept);
  kept = undefined;
});
