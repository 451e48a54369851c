/**
 * A TCP proxy on a loopback port between a platform and its Redis, with the faults of real networks: delays, resets,
 * silence, and a connection that is lost between a command and its answer.
 */
import { once } from 'node:events';
import {
  connect,
  createServer,
  type AddressInfo,
  type NetConnectOpts,
  type Server,
  type Socket,
} from 'node:net';

/** Faults of the connections. Each may be changed at any moment, and applies to open connections as well. */
export interface Conditions {
  /** Delay of each piece of data, in milliseconds and in each direction, and the random part added to it. */
  latencyMs: number;
  jitterMs: number;
  /** Number of bytes after which a connection is reset, both directions together. */
  resetAfterBytes: number;
  /** New connections are refused (accepted and reset at once). */
  refusing: boolean;
  /** New connections are accepted and pass nothing, ever: a server that hangs. */
  hanging: boolean;
}

const FINE: Conditions = {
  latencyMs: 0,
  jitterMs: 0,
  resetAfterBytes: Infinity,
  refusing: false,
  hanging: false,
};

/** A request that triggers a fault. */
interface Awaited {
  readonly match: (request: Buffer) => boolean;
  readonly done: () => void;
}

export class TcpProxy {
  readonly conditions: Conditions = { ...FINE };
  readonly #target: NetConnectOpts;
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  #cut: Awaited | undefined;
  #silencing: Awaited | undefined;
  /** Connections that were made since the start, and those that the proxy reset. */
  connections = 0;
  resets = 0;

  private constructor(target: NetConnectOpts) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#onClient(client));
  }

  static async start(target: NetConnectOpts): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** From now on everything passes. Silent connections stay silent, since neither end learns that the fault is over. */
  heal(): void {
    Object.assign(this.conditions, FINE);
  }

  /** Resets connections: all of them, or each with this probability. Returns their number. */
  reset(probability = 1): number {
    const lost = [...this.#pairs].filter(() => Math.random() < probability);
    for (const pair of lost) pair.reset();
    return lost.length;
  }

  /** Open connections pass nothing any more, and are not closed: half-open. Later ones are fine. */
  silence(): number {
    for (const pair of this.#pairs) pair.silent = true;
    return this.#pairs.size;
  }

  /**
   * Waits for the next request that matches; lets Redis have it, and resets the connection when Redis has answered,
   * without passing the answer on. Resolves then.
   */
  cutNextReply(match: (request: Buffer) => boolean): Promise<void> {
    return new Promise((done) => {
      this.#cut = { match, done };
    });
  }

  /** Waits for the next request that matches; from then on its connection passes nothing, and neither this request. */
  silenceAt(match: (request: Buffer) => boolean): Promise<void> {
    return new Promise((done) => {
      this.#silencing = { match, done };
    });
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.reset();
    await once(this.#server, 'close');
  }

  /** Is this the request whose answer must be lost? */
  takesCut(request: Buffer): (() => void) | undefined {
    const cut = this.#cut;
    if (!cut?.match(request)) return undefined;
    this.#cut = undefined;
    return cut.done;
  }

  /** Is this the request at which its connection falls silent? */
  takesSilence(request: Buffer): boolean {
    const silencing = this.#silencing;
    if (!silencing?.match(request)) return false;
    this.#silencing = undefined;
    silencing.done();
    return true;
  }

  #onClient(client: Socket): void {
    if (this.conditions.refusing) {
      client.resetAndDestroy();
      return;
    }
    this.connections++;
    const pair = new Pair(this, client, connect({ ...this.#target, allowHalfOpen: true }));
    this.#pairs.add(pair);
    pair.whenClosed(() => this.#pairs.delete(pair));
  }
}

/** One connection through the proxy. */
class Pair {
  readonly #proxy: TcpProxy;
  readonly #client: Socket;
  readonly #server: Socket;
  silent: boolean;
  #bytes = 0;
  #cut: (() => void) | undefined;

  constructor(proxy: TcpProxy, client: Socket, server: Socket) {
    this.#proxy = proxy;
    this.#client = client;
    this.#server = server;
    this.silent = proxy.conditions.hanging;
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.#destroy());
      socket.on('close', () => this.#destroy());
    }
    this.#pass(client, server, (data) => {
      this.silent ||= proxy.takesSilence(data);
      this.#cut ??= proxy.takesCut(data);
    });
    this.#pass(server, client, () => {
      if (!this.#cut) return;
      this.#cut();
      this.reset();
    });
  }

  whenClosed(listener: () => void): void {
    this.#client.once('close', listener);
  }

  reset(): void {
    if (this.#client.destroyed) return;
    this.#proxy.resets++;
    this.#client.resetAndDestroy();
    // Redis still executes everything that it has been sent.
    this.#server.destroy();
  }

  #destroy(): void {
    // A half-open connection: the other end learns nothing.
    if (this.silent && !this.#client.destroyed && !this.#server.destroyed) return;
    this.#client.destroy();
    this.#server.destroy();
  }

  #pass(from: Socket, to: Socket, look: (data: Buffer) => void): void {
    /** Data on the way, in order: a timer may be late, and later data must not be written before earlier data. */
    const waiting: { readonly data: Buffer; readonly at: number }[] = [];
    let timer: NodeJS.Timeout | undefined;
    const deliver = (): void => {
      timer = undefined;
      for (let [next] = waiting; next; [next] = waiting) {
        const early = next.at - performance.now();
        if (early > 0) {
          timer = setTimeout(deliver, early);
          return;
        }
        waiting.shift();
        if (!this.silent && to.writable) to.write(next.data);
      }
    };
    from.on('data', (data: Buffer) => {
      if (this.silent) return;
      look(data);
      if (this.silent || this.#client.destroyed) return;
      const { latencyMs, jitterMs, resetAfterBytes } = this.#proxy.conditions;
      this.#bytes += data.length;
      if (this.#bytes > resetAfterBytes) return this.reset();
      waiting.push({ data, at: performance.now() + latencyMs + Math.random() * jitterMs });
      if (!timer) deliver();
    });
    from.on('end', () => {
      if (!this.silent) to.end();
    });
  }
}
