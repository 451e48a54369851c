/** A function that lies about the body of its request: it writes to the descriptor of its channel, past the runtime. */
import { fstatSync, writeSync } from 'node:fs';

const BODY_CREDIT = 29;

/** The one socket that a sandbox has. */
function channel() {
  for (let fd = 3; fd < 64; fd++) {
    try {
      if (fstatSync(fd).isSocket()) return fd;
    } catch {
      // Not open.
    }
  }
  throw new Error('no channel');
}

const fd = channel();

/** Reports, for the invocations with the first handles, that their functions have read `bytes` bytes. */
function credit(bytes) {
  for (let handle = 0; handle < 8; handle++) {
    const frame = Buffer.alloc(13);
    frame.writeUInt32LE(9, 0);
    frame[4] = BODY_CREDIT;
    frame.writeUInt32LE(handle, 5);
    frame.writeUInt32LE(bytes, 9);
    for (let at = 0; at < frame.length;) {
      try {
        at += writeSync(fd, frame, at);
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
      }
    }
  }
}

/** Blocks the event loop, so that the body is not read. */
function idle(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/more') for (;;) credit(0xffffffff);
    if (pathname === '/nothing') for (;;) credit(0);
    // Credits as many bytes as can have been sent, again and again, and never reads one.
    if (pathname === '/greedy')
      for (;;) {
        credit(65_536);
        idle(5);
      }
    if (pathname === '/hold') idle(600_000);
    return new Response('honest');
  },
};
