/**
 * Two ends of a connection in memory, for a server of `node:http` without a port. A server asks more of a socket than a stream:
 * an address, timeouts and options, which have no effect here.
 */
import { Duplex } from 'node:stream';

export interface PeerFacts {
  readonly remoteAddress: string;
  /** True if the caller came by TLS. */
  readonly encrypted: boolean;
}

class MemorySocket extends Duplex {
  other: MemorySocket | undefined;
  /** Called when the reader of this end wants more. */
  #wanted: (() => void) | undefined;
  readonly remoteAddress: string;
  readonly remotePort = 0;
  readonly remoteFamily: string;
  readonly localAddress = '127.0.0.1';
  readonly localPort = 0;
  readonly encrypted: boolean;

  constructor({ remoteAddress, encrypted }: PeerFacts) {
    super({ allowHalfOpen: true, emitClose: true });
    this.remoteAddress = remoteAddress;
    this.remoteFamily = remoteAddress.includes(':') ? 'IPv6' : 'IPv4';
    this.encrypted = encrypted;
  }

  override _read(): void {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    wanted?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const { other } = this;
    if (!other || other.destroyed) return done(new Error('the connection is closed'));
    if (other.push(chunk)) done();
    else other.#wanted = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    this.other?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const { other } = this;
    this.other = undefined;
    this.#wanted?.();
    // Bytes that the other side has not read yet come before the end.
    if (other && !other.destroyed && !other.readableEnded) other.push(null);
    done(error);
  }

  setTimeout(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
  destroySoon(): void {
    if (this.writableFinished) this.destroy();
    else this.end(() => this.destroy());
  }
  address(): { address: string; family: string; port: number } {
    return { address: this.localAddress, family: 'IPv4', port: this.localPort };
  }
}

/** Returns the client's end and the server's; `peer` says what the server sees of the client. */
export function memoryConnection(peer: PeerFacts): [client: Duplex, server: Duplex] {
  const client = new MemorySocket({ remoteAddress: '127.0.0.1', encrypted: false });
  const server = new MemorySocket(peer);
  client.other = server;
  server.other = client;
  return [client, server];
}
