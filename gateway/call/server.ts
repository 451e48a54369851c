/** The HTTP server: what is a function's goes to the function route, the rest to the app. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { FUNCTION_PREFIX } from '#contract/functions/function-path.ts';
import { rawTarget } from './request.ts';
import { GatewayResponse } from './response.ts';

/** Slow or idle clients hold a socket and memory; these bound how long. */
const HEADERS_TIMEOUT_MS = 15_000;
/** A large body over a thin line; small ones, and those that stand still, have limits of their own (body.ts, spool.ts). */
const REQUEST_TIMEOUT_MS = 3_600_000;
/** Longer than the 60 s of common load balancers, so that it is they who close an idle connection, and not we under a request. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
const MAX_HEADER_BYTES = 32 * 1024;
const CONNECTIONS_CHECKING_MS = 5_000;

/** Sockets whose present request may take as long as it takes. */
const longUploads = new WeakSet<Socket>();

/** The body of this request is read as fast as its items are run, and not held to the time of others. */
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

/** Builds the server; listening is the caller's. */
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
    // Decided on the raw path: `//fn/…` or `/api/../fn/…` is not a function's, whatever it may be normalised to later.
    if (rawTarget(request.url ?? '').startsWith(FUNCTION_PREFIX)) functions.handle(request, response);
    else void manage(request, response);
  };
  server.on('request', onRequest);
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && longUploads.has(socket)) return;
    refuseConnection(error, socket);
  });
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    // A client that asks first is spared sending a body that will be refused: the handler tells it to go on, or refuses.
    if (rawTarget(request.url ?? '').startsWith(FUNCTION_PREFIX)) functions.handle(request, response, true);
    else {
      response.writeContinue();
      void manage(request, response);
    }
  });
  return server;
}

/** What node:http answers by itself where nobody listens for these errors. */
const REFUSALS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

function refuseConnection(error: NodeJS.ErrnoException, socket: Socket): void {
  // node:http keeps the response that is under way there; its own refusal looks at it as well.
  const { _httpMessage: underWay } = socket as { _httpMessage?: ServerResponse | null };
  if (!socket.writable || underWay?.headersSent) return void socket.destroy();
  const status = REFUSALS[error.code ?? ''] ?? '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
}
