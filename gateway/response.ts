/**
 * The answers of the gateway, whoever writes them. One that is given before its request has been read to its end decides what becomes of
 * the connection: a little more of a body is read and thrown away, and the connection is kept; of more than that the answer says
 * `Connection: close`, so that a client, or a proxy that lends the connection to the next one, sends nothing more on it.
 */
import type { Server, Socket } from 'node:net';
import {
  ServerResponse,
  type IncomingMessage,
  type OutgoingHttpHeader,
  type OutgoingHttpHeaders,
} from 'node:http';

/** A body that was announced as no larger is read to its end for the sake of its connection. */
const DRAINED_BYTES = 64 * 1024;
/** And so long: whoever is slower has broken off in the middle of its own request. */
const DRAIN_MS = 15_000;
/** After another refusal the client may go on sending; so much is read and thrown away so that it sees the answer. */
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
   * Ends the answer when the request has been read. Closing at once would reset the connection, and the client, still sending, would see
   * the reset and not the answer. It has all of the answer meanwhile.
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
    // A server that closes ends each connection as soon as it is idle. node:http keeps it there.
    const { server } = req.socket as Socket & { server?: Server };
    if (server && !server.listening) return false;
    if (!hasBody(req) || req.complete) return true;
    // Who asked whether to send, and was not told, may leave it and send the next request.
    if (req.headers.expect !== undefined && !this.#toldToGoOn) return false;
    return (
      req.headers['transfer-encoding'] === undefined && Number(req.headers['content-length']) <= DRAINED_BYTES
    );
  }

  /** Reads on for a while, and throws it away. */
  #linger(ended: () => void): void {
    const { req, shouldKeepAlive } = this;
    let bytes = 0;
    const giveUp = setTimeout(() => req.socket.destroy(), shouldKeepAlive ? DRAIN_MS : LINGER_MS);
    // Who read it for a handler that has answered would hold it back.
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

/** Has the request a body, whether it has come or not? */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
