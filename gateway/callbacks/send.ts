/** Sends one delivery: a POST over a connection of its own, to a checked address, within a time limit. */
import type { LookupAddress } from 'node:dns';
import { request as requestHttp, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { LookupFunction } from 'node:net';
import type { Guard } from './guard.ts';

/** Upper bound on the bytes of an answer that are read, though not used. Most bodies are shorter, so the receiver can finish. */
const MAX_ANSWER_BYTES = 4 * 1024;

export interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
}

/** Rejects when there was no answer, and with ReceiverRefused when the receiver is not allowed. */
export async function send(
  guard: Guard,
  url: URL,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<Answer> {
  const addresses = await guard.addresses(url, signal);
  signal.throwIfAborted();
  const request = url.protocol === 'https:' ? requestHttps : requestHttp;
  const options: RequestOptions = {
    method: 'POST',
    headers: { ...headers, 'content-length': String(body.length) },
    // A kept connection could lead to another address of the name.
    agent: false,
    lookup: pinned(addresses),
    signal,
  };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request(url, options, resolve).on('error', reject).end(body);
  });
  await skimmed(response);
  const { statusCode = 0, headers: answered } = response;
  return { status: statusCode, retryAfter: answered['retry-after'] };
}

/** Answers every lookup with the checked addresses, because a hostile name server could answer a second query differently. */
function pinned(addresses: readonly LookupAddress[]): LookupFunction {
  return (_name, { all }, callback) => {
    const [first] = addresses;
    if (all === true) callback(null, [...addresses]);
    else callback(null, first?.address ?? '', first?.family);
  };
}

/** Resolves when the body has ended, enough of it was read, or it broke off: only the status counts, which has arrived. */
async function skimmed(response: IncomingMessage): Promise<void> {
  try {
    let bytes = 0;
    for await (const chunk of response) {
      bytes += (chunk as Buffer).length;
      if (bytes >= MAX_ANSWER_BYTES) return;
    }
  } catch {
    // Broken off.
  } finally {
    response.destroy();
  }
}
