/** HTTP as an attacker speaks it: bytes on a socket, since a client library would correct them. */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Platform } from '../../support/platform/platform.ts';

export interface RawAnswer {
  /** 0 when the connection was closed without an answer. */
  readonly status: number;
  readonly text: string;
}

export async function connect(platform: Platform): Promise<Socket> {
  const socket = createConnection({ host: '127.0.0.1', port: Number(new URL(platform.url).port) });
  // A cut connection is an answer too; reads on this socket see its end.
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/**
 * Sends these bytes; returns all that comes back until the other side closes, an answer is whole, or `ms` have passed.
 */
export async function raw(platform: Platform, bytes: string | Buffer, ms = 5_000): Promise<RawAnswer> {
  const socket = await connect(platform);
  socket.write(bytes);
  return await answerOf(socket, ms);
}

/** The answer on a connection. Closes it. */
export async function answerOf(socket: Socket, ms = 5_000): Promise<RawAnswer> {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  const whole = (async () => {
    while (!isWhole(text) && !socket.closed && !socket.readableEnded) await sleep(2);
  })();
  await Promise.race([whole, sleep(ms, undefined, { ref: false })]);
  socket.destroy();
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
}

function isWhole(text: string): boolean {
  const end = text.indexOf('\r\n\r\n');
  if (end === -1) return false;
  const length = /^content-length: (\d+)/im.exec(text.slice(0, end))?.[1];
  return length !== undefined && text.length >= end + 4 + Number(length);
}

/** A request line and headers, with the empty line at the end. */
export function head(line: string, headers: readonly string[] = []): string {
  return [`${line} HTTP/1.1`, 'Host: 127.0.0.1', ...headers, '', ''].join('\r\n');
}
