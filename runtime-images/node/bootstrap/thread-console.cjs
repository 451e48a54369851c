/**
 * Loaded first in each worker thread: its `console` marks each text with its level, which the main thread takes off again
 * (runtime/thread-output.ts). Otherwise `console.error` of a thread could not be told from other bytes on its stderr.
 */
const { formatWithOptions } = require('node:util');

for (const level of ['debug', 'info', 'log', 'warn', 'error']) {
  const stream = level === 'warn' || level === 'error' ? 'stderr' : 'stdout';
  const original = console[level];
  console[level] = (...values) => {
    try {
      process[stream].write(`\0${level}\0${formatWithOptions({}, ...values)}\n`);
    } catch {
      original(...values);
    }
  };
}
process.execArgv.splice(process.execArgv.indexOf('--require'), 2);
