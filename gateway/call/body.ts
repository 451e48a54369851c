/** Reads request bodies: small ones into memory, large ones into the artifact store. A body over its limit is refused. */
import type { IncomingMessage } from 'node:http';
import { OffshootError } from '#contract/api/errors.ts';
import { hasBody } from './response.ts';

const EMPTY = Buffer.alloc(0);

/** Time limit for a body that goes through memory to arrive. */
const INLINE_BODY_MS = 300_000;

/** The caller disconnected before the body was complete. */
export class RequestAborted extends Error {
  override readonly name = 'RequestAborted';
}

/** Upper bound on the size of a body, and the setting that it comes from. */
export interface BodyLimit {
  readonly bytes: number;
  /** The setting to raise, as text for an error. */
  readonly setting: string;
}

const MB = 1024 * 1024;

/** The function's own limit, or the gateway's where that is lower. */
export function bodyLimit(functionMb: number, maxBytes: number): BodyLimit {
  return functionMb * MB <= maxBytes
    ? { bytes: functionMb * MB, setting: `"requestSize" in offshoot.json, ${functionMb} MB` }
    : { bytes: maxBytes, setting: 'OFFSHOOT_MAX_BODY_BYTES of the gateway' };
}

/** Throws `body_too_large` when the announced length is over the limit, before a byte of the body is read. */
export function checkAnnouncedLength(request: IncomingMessage, limit: BodyLimit): void {
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > limit.bytes) throw tooLarge(limit, announced, true);
}

/**
 * The whole body: at once when there is none, else a promise. When it is larger than `inlineBytes`, the request is paused and
 * `spool` gets the chunks read before; the promise then resolves to the value of `spool`.
 */
export function readBody<Spooled>(
  request: IncomingMessage,
  inlineBytes: number,
  spool: (begun: readonly Buffer[]) => Promise<Spooled>,
): Buffer | Promise<Buffer | Spooled> {
  if (!hasBody(request)) return EMPTY;
  // The client may have disconnected during an earlier await, and 'close' is emitted only once.
  if (request.destroyed) return Promise.reject(new RequestAborted());
  request.on('error', () => undefined);
  if (Number(request.headers['content-length'] ?? 0) > inlineBytes) return spool([]);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const tooSlow = setTimeout(() => request.destroy(), INLINE_BODY_MS);
    const onEnd = (): void => {
      clearTimeout(tooSlow);
      resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, bytes));
    };
    const onBroken = (): void => {
      clearTimeout(tooSlow);
      reject(new RequestAborted());
    };
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= inlineBytes) return;
      clearTimeout(tooSlow);
      request.off('data', onData).off('end', onEnd).off('close', onBroken).pause();
      spool(chunks).then(resolve, reject);
    };
    request.on('data', onData).on('end', onEnd).on('close', onBroken);
  });
}

/** `exact`: `size` is the size of the whole body, and not only of the part that has arrived. */
export function tooLarge({ bytes: limit, setting }: BodyLimit, size: number, exact: boolean): OffshootError {
  return new OffshootError(
    'body_too_large',
    `the body has ${size} bytes${exact ? '' : ' or more'}; at most ${limit} are accepted (${setting})`,
    { details: { limit, size, setting } },
  );
}
