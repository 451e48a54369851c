/** Entry of the offshoot command: runs the verb, turns errors into what a person reads and a script tests. */
import module from 'node:module';
import { homedir } from 'node:os';
import path from 'node:path';

// Compiled code and stripped types are kept from run to run: this halves the start. In the user's own cache, because
// code that others could write to must not be loaded.
const cacheHome = process.env['XDG_CACHE_HOME'] || path.join(process.env['HOME'] || homedir(), '.cache');
module.enableCompileCache(path.join(cacheHome, 'offshoot', 'compile-cache'));

// `offshoot list | head -1`: the reader has what it wanted, which is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

const { run } = await import('./program.ts');
process.exitCode = await run(process.argv.slice(2));
