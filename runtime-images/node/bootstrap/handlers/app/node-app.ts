/**
 * Runs programs that are written for a server of `node:http`: express, koa, fastify, nest, a plain `(req, res)` function, or a
 * server that has called `listen()`. Node's own server reads the request from a connection in memory, so such a program behaves
 * as on a host. Bodies stream in both directions.
 */
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { decodePayload, type RequestMeta } from '#contract/wire/payload.ts';
import { wholeBody } from '../body-stream.ts';
import { sendBody, type BodyReader } from '../body.ts';
import { showOwnContext } from '../http.ts';
import { BadResponseError, type Answer, type Invocation } from '../invocation.ts';
import { HelpedRequest, HelpedResponse, tellBody } from './helpers.ts';
import { memoryConnection } from './memory-socket.ts';

/** Upper bound on the headers of either side; the gateway has its own, which is lower. */
const MAX_HEADER_BYTES = 256 * 1024;

export type NodeListener = (
  request: IncomingMessage,
  response: http.ServerResponse,
  next?: (error?: unknown) => void,
) => unknown;

/** Upper bound on a body that is read before a function runs which may ask for it as a whole. */
const MAX_WHOLE_BYTES = 8 * 1024 * 1024;

/** Takes a request and gives it to a server of Node's. */
export interface App {
  /** Opens a connection to the server. `body` is the whole body, if it is known. */
  connect(meta: RequestMeta, body: Buffer | undefined): Connection;
  /** True if a body of moderate length is to be read ahead. */
  readonly wantsWhole?: true;
}

interface Connection {
  /** The client's end. */
  readonly client: Duplex;
  /** Settles when the program has ended the work of this connection; rejects when it has failed. */
  readonly run?: Promise<void>;
}

/** An app of a server of `node:http` or `node:https`, which need not listen. */
export function appOfServer(server: net.Server): App {
  // A server of another kind speaks a protocol of its own, so only its port can be called.
  if (!(server instanceof http.Server) && !(server instanceof https.Server)) return appOfPort(server);
  // Behind this event, a server of TLS is one of plain HTTP.
  const event = server instanceof https.Server ? 'secureConnection' : 'connection';
  return {
    connect(meta) {
      const [client, connection] = memoryConnection(peerOf(meta));
      server.emit(event, connection);
      return { client };
    },
  };
}

function appOfPort(server: net.Server): App {
  return {
    connect() {
      const address = server.address();
      if (address === null)
        throw new BadResponseError('the server of this function does not listen any more');
      const host = typeof address === 'object' && address.family === 'IPv6' ? '::1' : '127.0.0.1';
      const where = typeof address === 'string' ? { path: address } : { port: address.port, host };
      return { client: net.connect(where) };
    },
  };
}

/** An app of a framework's listener, which answers errors itself. */
export function appOfFramework(listener: NodeListener): App {
  // Without a third argument, a framework knows that it is not a part of another one.
  return appOfServer(
    http.createServer({ maxHeaderSize: MAX_HEADER_BYTES }, (request, response) => {
      void listener(request, response);
    }),
  );
}

/** An app of a single function. An error that it throws, or a rejection of its promise, is the error of the invocation. */
export function appOfFunction(listener: NodeListener): App {
  const runs = new WeakMap<object, PromiseWithResolvers<void>>();
  const classes = { IncomingMessage: HelpedRequest, ServerResponse: HelpedResponse };
  const server = http.createServer({ maxHeaderSize: MAX_HEADER_BYTES, ...classes }, (request, response) => {
    const run = runs.get(request.socket);
    const closed = new Promise((resolve) => response.once('close', resolve));
    const next = (error?: unknown): void => {
      const isError = error !== undefined && error !== null && error !== 'route' && error !== 'router';
      if (isError) return run?.reject(error);
      if (!response.headersSent) response.writeHead(404, { 'content-type': 'text/plain' });
      response.end(`Cannot ${request.method ?? 'GET'} ${request.url ?? '/'}\n`);
    };
    const called = async (): Promise<void> => {
      try {
        await listener(request, response, next);
        await closed;
        run?.resolve();
      } catch (error) {
        run?.reject(error);
      }
    };
    void called();
  });
  return {
    wantsWhole: true,
    connect(meta, body) {
      const [client, connection] = memoryConnection(peerOf(meta));
      const run = Promise.withResolvers<void>();
      runs.set(connection, run);
      if (body) tellBody(connection, body);
      server.emit('connection', connection);
      return { client, run: run.promise };
    },
  };
}

/** Answers each kind of call by the app; an event is a POST of JSON to `/`. */
export function answerByApp(app: App): Answer {
  return async (invocation, payload) => {
    const decoded = decodePayload(payload) as { meta: RequestMeta; body: Buffer<ArrayBuffer> };
    const { meta } = decoded;
    showOwnContext(meta, invocation.context);
    const isLarge = (invocation.context.bodyBytes ?? 0) > (app.wantsWhole ? MAX_WHOLE_BYTES : 0);
    const body = isLarge ? undefined : await wholeBody(invocation.body, decoded.body);
    const { client, run = Promise.resolve() } = app.connect(meta, body);
    const answered = send(client, meta, invocation, body).then((response) =>
      sendAnswer(invocation, response),
    );
    try {
      // A program that has failed will not answer, so its failure counts first.
      await Promise.race([answered, run.then(() => answered)]);
      await run;
    } finally {
      client.destroy();
      await answered.catch(() => undefined);
    }
  };
}

/** Sends the request and resolves to the head of its answer. */
async function send(
  connection: Duplex,
  meta: RequestMeta,
  invocation: Invocation,
  body: Buffer | undefined,
): Promise<IncomingMessage> {
  const request = http.request({
    createConnection: () => connection,
    method: meta.method,
    path: targetOf(meta.url),
    headers: headersOf(meta, body?.length ?? invocation.context.bodyBytes ?? 0),
    maxHeaderSize: MAX_HEADER_BYTES,
    // Otherwise a header of the function with a byte that this parser dislikes would hide its whole answer.
    insecureHTTPParser: true,
  });
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.once('upgrade', () =>
      reject(
        new BadResponseError('the app answered by a protocol upgrade; answer with a status of 200 to 599'),
      ),
    );
    // A server may answer before it has read the request, and the rest of the request then fails.
    request.on('error', (error: NodeJS.ErrnoException) => reject(asUnanswered(error)));
  });
  if (body) request.end(body.length > 0 ? body : undefined);
  else if (invocation.body) await Promise.race([sendLarge(request, invocation.body.stream()), answer]);
  else request.end();
  return await answer;
}

/** Sends a large body as fast as the app reads it. */
async function sendLarge(request: http.ClientRequest, body: ReadableStream<Uint8Array>): Promise<void> {
  for await (const piece of body) {
    if (request.destroyed) return;
    if (!request.write(piece))
      await new Promise<void>((resolve) => request.once('drain', resolve).once('close', resolve));
  }
  request.end();
}

function asUnanswered(error: NodeJS.ErrnoException): Error {
  if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') return error;
  return new BadResponseError('the app closed the connection without an answer');
}

async function sendAnswer(invocation: Invocation, response: IncomingMessage): Promise<void> {
  const status = response.statusCode ?? 0;
  if (status < 200) throw new BadResponseError(`status ${status} cannot end an invocation; use 200 to 599`);
  const headers: [string, string][] = [];
  for (let at = 0; at < response.rawHeaders.length; at += 2) {
    const name = (response.rawHeaders[at] ?? '').toLowerCase();
    if (!OF_CONNECTION.has(name)) headers.push([name, response.rawHeaders[at + 1] ?? '']);
  }
  const iterator = response[Symbol.asyncIterator]();
  const reader: BodyReader = {
    read: async () => {
      try {
        return (await iterator.next()) as { done: boolean; value?: unknown };
      } catch (error) {
        throw asBrokenOff(error);
      }
    },
  };
  const length = headers.find(([name]) => name === 'content-length')?.[1];
  // node:http has checked the length against the body.
  await sendBody(invocation, { status, headers }, reader, reader, length);
}

function asBrokenOff(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === 'ECONNRESET'
    ? new Error('the app closed the connection in the middle of its answer')
    : error;
}

const OF_CONNECTION: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'transfer-encoding', 'date']);

/** Headers in the flat form in which node:http writes them as they are. */
function headersOf(meta: RequestMeta, bodyBytes: number): string[] {
  const flat: string[] = [];
  let hasHost = false;
  for (const [name, value] of meta.headers) {
    if (
      name === 'content-length' ||
      name === 'transfer-encoding' ||
      name === 'connection' ||
      name === 'expect'
    )
      continue;
    hasHost ||= name === 'host';
    flat.push(name, value);
  }
  if (!hasHost) flat.push('host', hostOf(meta.url));
  // An event, too, is a request with a body.
  if (bodyBytes > 0 || !BODYLESS.has(meta.method)) flat.push('content-length', String(bodyBytes));
  flat.push('connection', 'close');
  return flat;
}

const BODYLESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT']);

/** Path and query as they were sent. */
function targetOf(url: string): string {
  const at = url.indexOf('/', url.indexOf('//') + 2);
  return at < 0 ? '/' : url.slice(at);
}

function hostOf(url: string): string {
  const start = url.indexOf('//') + 2;
  const end = url.indexOf('/', start);
  return url.slice(start, end < 0 ? undefined : end);
}

function peerOf({ headers, url }: RequestMeta): { remoteAddress: string; encrypted: boolean } {
  const forwarded = headers.findLast(([name]) => name === 'x-forwarded-for')?.[1];
  return {
    remoteAddress: forwarded?.split(',', 1)[0]?.trim() || '127.0.0.1',
    encrypted: url.startsWith('https:'),
  };
}
