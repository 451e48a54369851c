/** Reading a request body up to a limit. */
import type { IncomingMessage } from 'node:http';
import { OffshootError } from '#contract/errors.ts';

const EMPTY = Buffer.alloc(0);

/** After a refusal the client may go on sending; so much is read and thrown away so that it sees the answer. */
const LINGER_BYTES = 64 * 1024 * 1024;
const LINGER_MS = 2_000;

/** The caller went away, or its connection broke, before the body was complete. */
export class RequestAborted extends Error {
  override readonly name = 'RequestAborted';
}

/** Throws `body_too_large` when the request announces more than it may send, before a byte of it is read. */
export function checkAnnouncedLength(request: IncomingMessage, limit: number): void {
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > limit) throw tooLarge(announced, limit);
}

/** The whole body: at once when there is none, else a promise. Rejects with `body_too_large` as soon as the limit is passed. */
export function readBody(request: IncomingMessage, limit: number): Buffer | Promise<Buffer> {
  const { headers } = request;
  if (headers['transfer-encoding'] === undefined && !Number(headers['content-length'] ?? 0)) return EMPTY;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > limit) {
        request.removeAllListeners('data');
        reject(tooLarge(bytes, limit));
      } else chunks.push(chunk);
    });
    request.on('end', () =>
      resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, bytes)),
    );
    request.on('error', () => reject(new RequestAborted()));
    request.on('close', () => reject(new RequestAborted()));
  });
}

/**
 * Reads on for a while after an early answer. Closing at once would reset the connection, and the client, still sending,
 * would see the reset and not the answer.
 */
export function lingerOver(request: IncomingMessage): void {
  if (request.readableEnded || request.destroyed) return;
  let bytes = 0;
  const giveUp = setTimeout(() => request.socket.destroy(), LINGER_MS);
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > LINGER_BYTES) request.socket.destroy();
  });
  request.on('close', () => clearTimeout(giveUp));
  request.on('end', () => clearTimeout(giveUp));
  request.on('error', () => undefined);
  request.resume();
}

function tooLarge(bytes: number, limit: number): OffshootError {
  return new OffshootError(
    'body_too_large',
    `the body has ${bytes} bytes or more; at most ${limit} are accepted`,
    {
      details: { limit, size: bytes },
    },
  );
}
