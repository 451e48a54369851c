/** Attacks on the worker's own thread: a function that stops it stops the calls of all tenants. Chosen by the path. */
import { spawn, spawnSync } from 'node:child_process';
import { fstatSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

function descriptors() {
  return readdirSync('/proc/self/fd').map(Number);
}

/** The counter of calls that were handed ahead, where a sandbox has it as an eventfd. */
function fillCounter() {
  const counter = descriptors().find((fd) => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').includes('eventfd-semaphore: 1');
    } catch {
      return false;
    }
  });
  if (counter === undefined) return 'no counter';
  // libuv's child clears O_NONBLOCK of the file that becomes its descriptor 0, and so for every holder of that open
  // file.
  spawnSync('/bin/true', [], { stdio: [counter, 'ignore', 'ignore'] });
  const full = Buffer.alloc(8, 0xff);
  full[0] = 0xfe;
  writeSync(counter, full);
  return 'filled';
}

function channel() {
  return descriptors().find((fd) => {
    try {
      return fd > 2 && fstatSync(fd).isSocket();
    } catch {
      return false;
    }
  });
}

/** Runs the native program beside this call as long as it holds on, and returns its output up to then. */
async function native(command) {
  let said = '';
  const child = spawn('/var/task/stall', [command], { stdio: ['ignore', 'inherit', 'pipe', channel()] });
  child.stderr.on('data', (bytes) => (said += bytes));
  await Promise.race([new Promise((resolve) => child.once('exit', resolve)), sleep(500)]);
  return said;
}

export default {
  async fetch(request) {
    const attack = new URL(request.url).pathname.split('/').at(-1);
    if (attack === 'counter') return new Response(fillCounter());
    if (attack === 'quick') return new Response('ok');
    if (attack === 'hoard' || attack === 'inflate') {
      createRequire(import.meta.url)('/var/task/turns.node')[attack]();
      return new Response('inflated');
    }
    return new Response(await native(attack));
  },
};
