// Loaded into a process before its program (--import): keeps a descriptor open at SIGUSR2, and closes it at the next one. A test
// that says that nothing is left behind is to see that something is.
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
