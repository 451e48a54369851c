/**
 * The members that hosts of single `(req, res)` functions add to Node's classes: `res.status(200).json(value)`, `req.query`,
 * `req.body`. On the prototypes, so that a framework which brings its own replaces them.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';

/** Bodies that were read before the function runs, by the connection of their request. */
const bodies = new WeakMap<object, Buffer>();

/** Gives the request of this connection its `body`. */
export function tellBody(connection: object, body: Buffer): void {
  bodies.set(connection, body);
}

export class HelpedRequest extends IncomingMessage {
  /** Values of the query; an array where a name comes several times. */
  get query(): Record<string, string | string[]> {
    const at = (this.url ?? '').indexOf('?');
    const found = new Map<string, string | string[]>();
    for (const [name, value] of new URLSearchParams(at < 0 ? '' : this.url?.slice(at + 1))) {
      const before = found.get(name);
      found.set(name, before === undefined ? value : [before, value].flat());
    }
    return Object.fromEntries(found);
  }

  get cookies(): Record<string, string> {
    const found = new Map<string, string>();
    for (const pair of (this.headers.cookie ?? '').split(';')) {
      const at = pair.indexOf('=');
      if (at > 0 && !found.has(pair.slice(0, at).trim()))
        found.set(pair.slice(0, at).trim(), decoded(pair.slice(at + 1).trim()));
    }
    return Object.fromEntries(found);
  }

  /** The body by its type: a value for JSON and forms, a string for text, else a Buffer; undefined for none. */
  get body(): unknown {
    const bytes = bodies.get(this.socket);
    if (!bytes || bytes.length === 0) return undefined;
    const type = (this.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
    if (type === 'application/json' || type.endsWith('+json'))
      return JSON.parse(bytes.toString('utf8')) as unknown;
    if (type === 'application/x-www-form-urlencoded')
      return Object.fromEntries(new URLSearchParams(bytes.toString('utf8')));
    return type.startsWith('text/') ? bytes.toString('utf8') : bytes;
  }

  /** Frameworks put a parsed body here. */
  set body(value: unknown) {
    Object.defineProperty(this, 'body', { value, writable: true, configurable: true, enumerable: true });
  }

  get(name: string): string | string[] | undefined {
    return this.headers[name.toLowerCase()];
  }
}

export class HelpedResponse extends ServerResponse<HelpedRequest> {
  status(status: number): this {
    this.statusCode = status;
    return this;
  }

  set(name: string | Record<string, string>, value?: string | string[]): this {
    if (typeof name === 'string') this.setHeader(name, value ?? '');
    else for (const [key, one] of Object.entries(name)) this.setHeader(key, one);
    return this;
  }

  json(value: unknown): this {
    if (!this.hasHeader('content-type')) this.setHeader('content-type', 'application/json; charset=utf-8');
    return this.end(JSON.stringify(value));
  }

  send(body?: unknown): this {
    if (body instanceof Uint8Array) {
      if (!this.hasHeader('content-type')) this.setHeader('content-type', 'application/octet-stream');
      return this.end(body);
    }
    if (typeof body === 'object' && body !== null && typeof (body as Partial<Readable>).pipe === 'function') {
      (body as Readable).pipe(this);
      return this;
    }
    if (typeof body === 'object' || typeof body === 'number' || typeof body === 'boolean')
      return this.json(body);
    if (body !== undefined && !this.hasHeader('content-type'))
      this.setHeader('content-type', 'text/html; charset=utf-8');
    return this.end(typeof body === 'string' ? body : undefined);
  }

  sendStatus(status: number): this {
    this.statusCode = status;
    return this.set('content-type', 'text/plain; charset=utf-8').end(String(status));
  }

  redirect(status: number | string, url?: string): this {
    this.statusCode = typeof status === 'number' ? status : 307;
    return this.set('location', typeof status === 'number' ? (url ?? '/') : status).end();
  }
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
