/**
 * The ServerResponse of all answers of the gateway. An answer that comes before the request was read to its end decides about the
 * connection. With a short body, the rest is read and discarded, and the connection is kept. Otherwise the answer says
 * `Connection: close`, so that neither a client nor a proxy sends another request on the connection.
 */
import type { Server, Socket } from 'node:net';
import {
  ServerResponse,
  type IncomingMessage,
  type OutgoingHttpHeader,
  type OutgoingHttpHeaders,
} from 'node:http';

/** Upper bound on the announced length of a body that is read to its end, so that its connection can be kept. */
const DRAINED_BYTES = 64 * 1024;
/** Time limit for reading such a body; a slower client has aborted its own request. */
const DRAIN_MS = 15_000;
/** Upper bound on the bytes that are read and discarded in other cases, so that a client that still sends sees the answer. */
const LINGER_BYTES = 64 * 1024 * 1024;
const LINGER_MS = 2_000;

type Headers = OutgoingHttpHeaders | OutgoingHttpHeader[];

export class GatewayResponse extends ServerResponse {
  #toldToGoOn = false;

  override writeContinue(callback?: () => void): void {
    this.#toldToGoOn = true;
    super.writeContinue(callback);
  }

  override writeHead(status: number, reason?: string | Headers, headers?: Headers): this {
    if (!this.#mayBeKept()) this.shouldKeepAlive = false;
    return typeof reason === 'string'
      ? super.writeHead(status, reason, headers)
      : super.writeHead(status, headers ?? reason);
  }

  /**
   * Ends the answer when the request has been read. Closing at once would reset the connection, and a client that still sends
   * would see the reset and not the answer. The whole answer is written before the wait.
   */
  override end(...given: unknown[]): this {
    const { req } = this;
    if (!hasBody(req) || req.readableEnded || req.destroyed || this.writableEnded) return this.#endNow(given);
    const [body, ...rest] = given;
    if (typeof body === 'string' || body instanceof Uint8Array) {
      const encoding = typeof rest[0] === 'string' ? (rest[0] as BufferEncoding) : 'utf8';
      if (!this.headersSent && !this.hasHeader('content-length'))
        this.setHeader('content-length', Buffer.byteLength(body, encoding));
      this.write(body, encoding);
    } else this.flushHeaders();
    const callback = given.find((one) => typeof one === 'function');
    this.#linger(() => this.#endNow(callback ? [callback] : []));
    return this;
  }

  #endNow(given: unknown[]): this {
    return super.end(...(given as Parameters<ServerResponse['end']>));
  }

  #mayBeKept(): boolean {
    const { req } = this;
    // A closing server ends each connection as soon as it is idle. node:http keeps the server in this field of the socket.
    const { server } = req.socket as Socket & { server?: Server };
    if (server && !server.listening) return false;
    if (!hasBody(req) || req.complete) return true;
    // A client that asked for a 100 and got none may leave out the body and send its next request.
    if (req.headers.expect !== undefined && !this.#toldToGoOn) return false;
    return (
      req.headers['transfer-encoding'] === undefined && Number(req.headers['content-length']) <= DRAINED_BYTES
    );
  }

  /** Reads the rest of the request for a limited time and discards it. */
  #linger(ended: () => void): void {
    const { req, shouldKeepAlive } = this;
    let bytes = 0;
    const giveUp = setTimeout(() => req.socket.destroy(), shouldKeepAlive ? DRAIN_MS : LINGER_MS);
    // Listeners of a handler that has answered would keep the stream from flowing.
    req.removeAllListeners('readable').removeAllListeners('data');
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > LINGER_BYTES) req.socket.destroy();
    });
    req.on('close', () => clearTimeout(giveUp));
    req.on('end', () => {
      clearTimeout(giveUp);
      ended();
    });
    req.on('error', () => undefined);
    req.resume();
  }
}

/** Whether the request has a body, arrived or not. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
