// Loaded into a process before its program (--import): at SIGUSR2 its event loop stands still, in the way written in
// the file that OFFSHOOT_TEST_STAND names.
import { execFileSync, spawn } from 'node:child_process';
import { openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { isMainThread, Worker } from 'node:worker_threads';

function loopWithoutEnd(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end) Math.random();
}

function writeToFullPipe(file) {
  execFileSync('mkfifo', [`${file}.pipe`]);
  // Opened for both, so that the open does not wait for a reader. A full pipe blocks its writer.
  writeSync(openSync(`${file}.pipe`, 'r+'), Buffer.alloc(1024 * 1024));
}

/** A sleeping child holds the lock of a pipe, and a read of that pipe is then interrupted by no signal. */
function readLockedPipe(file) {
  execFileSync('mkfifo', [`${file}.locked`]);
  const pipe = openSync(`${file}.locked`, 'r+');
  const holder = spawn(`${file}.holder`, ['splice'], { stdio: ['ignore', pipe, 'ignore'] });
  holder.once('spawn', () => setTimeout(() => readSync(pipe, Buffer.alloc(1)), 500));
}

/** Like the stop button of a debugger. */
function pauseByInspector() {
  const source = `
    const { Session } = require('node:inspector');
    const session = new Session();
    session.connectToMainThread();
    session.post('Debugger.enable');
    session.post('Debugger.pause');
    setInterval(() => undefined, 1000);
  `;
  return new Worker(source, { eval: true, env: {}, execArgv: [] });
}

if (isMainThread) {
  process.on('SIGUSR2', () => {
    const file = process.env['OFFSHOOT_TEST_STAND'] ?? '';
    const [how, milliseconds = 'Infinity'] = readFileSync(file, 'utf8').split(' ');
    if (how === 'loop') loopWithoutEnd(Number(milliseconds));
    else if (how === 'write') writeToFullPipe(file);
    else if (how === 'lock') readLockedPipe(file);
    else if (how === 'inspector') pauseByInspector();
  });
}
