/** Stands between a client and a server on loopback, and cuts their connections at the test's command. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export interface Faults {
  /** Number of bytes after which a connection is cut: bytes to the client, or to the server. */
  cutDownAfter?: number | undefined;
  cutUpAfter?: number | undefined;
  /** New connections are cut at once. */
  refuse?: boolean;
}

export class FaultProxy {
  /** May be changed at any time; applies to bytes that come afterwards. */
  faults: Faults = {};
  /** Number of connections accepted since the start. */
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(port: number) {
    this.#server = createServer((client) => this.#join(client, connect(port, '127.0.0.1')));
  }

  static async start(port: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(port);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  /** Connections of clients that are open now. */
  get open(): number {
    return this.#sockets.size / 2;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Cuts every open connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }

  #join(client: Socket, server: Socket): void {
    this.connections++;
    const end = (): void => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', end).on('close', () => {
        this.#sockets.delete(socket);
        end();
      });
    }
    if (this.faults.refuse) return end();
    this.#carry(client, server, () => this.faults.cutUpAfter, end);
    this.#carry(server, client, () => this.faults.cutDownAfter, end);
  }

  #carry(from: Socket, to: Socket, limit: () => number | undefined, cut: () => void): void {
    let carried = 0;
    from.on('data', (bytes: Buffer) => {
      carried += bytes.length;
      if (!to.write(bytes)) from.pause();
      if (carried > (limit() ?? Infinity)) cut();
    });
    to.on('drain', () => from.resume());
  }
}
