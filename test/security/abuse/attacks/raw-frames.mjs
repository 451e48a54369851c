/**
 * Writes to the channel of its sandbox past the runtime: the descriptor is its own, so only its own calls can suffer.
 */
import { fstatSync, writeSync } from 'node:fs';

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

function write(bytes) {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

function frame(kind, handle, payload) {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUInt32LE(5 + payload.length, 0);
  bytes[4] = kind;
  bytes.writeUInt32LE(handle, 5);
  bytes.set(payload, 9);
  return bytes;
}

const fd = channel();
const LOG = 26;
const HEAD = 22;
const RESULT = 21;
const SETTLED = 27;

/** Payload of a response without headers (contract/wire/payload.ts). */
function response(text) {
  const meta = Buffer.from(JSON.stringify({ status: 200, headers: [] }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(meta.length, 0);
  return Buffer.concat([length, meta, Buffer.from(text)]);
}

/** Frames in an order that no honest sandbox sends. A function does not know its own handle, so each goes to several. */
const ORDERS = {
  '/settled-first': () => [[SETTLED, Buffer.alloc(0)]],
  '/head-then-result': () => [
    [HEAD, response('first')],
    [RESULT, response('second')],
  ],
};

if (process.env.ATTACK === 'load') for (;;) write(frame(LOG, 0, Buffer.alloc(500 * 1024, 'l')));

export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/ok') return new Response('ok');
    const order = ORDERS[pathname]?.();
    if (order) {
      for (const [kind, payload] of order)
        for (let handle = 1; handle < 4; handle++) write(frame(kind, handle, payload));
      return new Promise(() => undefined);
    }
    // A function does not know its own handle, so it writes to several; this sandbox has no handle of another tenant.
    const text = Buffer.alloc(500 * 1024, pathname === '/newlines' ? '\n' : 'l');
    text[0] = 2;
    for (;;) for (let handle = 0; handle < 4; handle++) write(frame(LOG, handle, text));
  },
};
