/**
 * A receiver of callbacks on loopback, whose answers the test decides, and which checks signatures by the public
 * library.
 */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { CallbackBody } from '#contract/invocations/callback.ts';

export interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly path: string;
  readonly text: string;
  readonly body: CallbackBody;
  /** By performance.now(). */
  readonly at: number;
}

export class Receiver {
  readonly url: string;
  readonly port: number;
  readonly received: Received[] = [];
  /** Answers request number `turn`, counted from 0. */
  answer: (response: ServerResponse, turn: number) => void = (response) => void response.writeHead(204).end();
  readonly #server: Server;

  private constructor(server: Server, host: string) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    this.url = `http://${host}:${this.port}`;
  }

  static async start(host = '127.0.0.1', port = 0): Promise<Receiver> {
    const server = createServer();
    server.listen(port, host);
    await once(server, 'listening');
    const receiver = new Receiver(server, host);
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        receiver.received.push({
          headers: request.headers,
          path: request.url ?? '',
          text,
          body: CallbackBody.parse(JSON.parse(text)),
          at: performance.now(),
        });
        receiver.answer(response, receiver.received.length - 1);
      });
    });
    return receiver;
  }

  /** Deliveries for an invocation. */
  of(id: string): Received[] {
    return this.received.filter(({ body }) => body.id === id);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Throws when the signature is not of this secret, or its time is not about now. */
export function verify(secret: string, { text, headers }: Pick<Received, 'text' | 'headers'>): void {
  const named: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) named[name] = String(value);
  new Webhook(secret).verify(text, named);
}
