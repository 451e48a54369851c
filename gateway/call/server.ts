/** The HTTP server: passes calls of functions to the function route, and all other requests to the management app. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { FUNCTION_PREFIX } from '#contract/functions/function-path.ts';
import { rawTarget } from './request.ts';
import { GatewayResponse } from './response.ts';

/** Time limit for the headers of a request: slow or idle clients hold a socket and memory. */
const HEADERS_TIMEOUT_MS = 15_000;
/** Time limit for a large body over a slow line; small and stalled bodies have limits of their own (body.ts, spool.ts). */
const REQUEST_TIMEOUT_MS = 3_600_000;
/** Time after which an idle connection is closed: over the 60 s of common load balancers, so that these close it first. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
const MAX_HEADER_BYTES = 32 * 1024;
const CONNECTIONS_CHECKING_MS = 5_000;

/** Sockets whose current request has no time limit. */
const longUploads = new WeakSet<Socket>();

/** Exempts a request from REQUEST_TIMEOUT_MS, because its body is read only as fast as its items run. */
export function allowLongUpload(request: IncomingMessage): void {
  longUploads.add(request.socket);
  request.once('close', () => longUploads.delete(request.socket));
}

export interface ServerOptions {
  readonly functions: {
    handle(request: IncomingMessage, response: ServerResponse, asksFirst?: boolean): void;
  };
  readonly app: { fetch: (request: Request, env: object) => Response | Promise<Response> };
}

/** Builds the server; the caller makes it listen. */
export function createGatewayServer(options: ServerOptions): Server {
  const { functions, app } = options;
  const manage = getRequestListener(app.fetch);
  const server = createServer({
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    connectionsCheckingInterval: CONNECTIONS_CHECKING_MS,
    noDelay: true,
    ServerResponse: GatewayResponse,
  });
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    // Decided on the raw path: `//fn/…` or `/api/../fn/…` belongs to no function, even if it is normalised later.
    if (rawTarget(request.url ?? '').startsWith(FUNCTION_PREFIX)) functions.handle(request, response);
    else void manage(request, response);
  };
  server.on('request', onRequest);
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && longUploads.has(socket)) return;
    refuseConnection(error, socket);
  });
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    // A client that asks first need not send a body that would be refused: the handler answers 100 or refuses.
    if (rawTarget(request.url ?? '').startsWith(FUNCTION_PREFIX)) functions.handle(request, response, true);
    else {
      response.writeContinue();
      void manage(request, response);
    }
  });
  return server;
}

/** The answers that node:http itself gives to these errors when there is no listener. */
const REFUSALS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

function refuseConnection(error: NodeJS.ErrnoException, socket: Socket): void {
  // node:http keeps the current response in this field; its own refusal checks the same field.
  const { _httpMessage: underWay } = socket as { _httpMessage?: ServerResponse | null };
  if (!socket.writable || underWay?.headersSent) return void socket.destroy();
  const status = REFUSALS[error.code ?? ''] ?? '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
}
