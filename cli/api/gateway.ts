/**
 * Requests of one gateway, with the key. The schema of the contract checks every answer: a gateway of another version gives an error
 * that says so, not an undefined that surfaces somewhere else.
 */
import type { z } from 'zod';
import { ErrorBody } from '#contract/api/errors.ts';
import { CliError, messageOf } from '../terminal/errors.ts';
import { DEFAULT_URL, remedyOfRefusal, type Target } from './credentials.ts';

export interface RequestOptions {
  readonly method?: string;
  readonly json?: unknown;
  readonly body?: NonNullable<RequestInit['body']>;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal | undefined;
  readonly withoutKey?: boolean;
}

export class Gateway {
  readonly target: Target;

  constructor(target: Target) {
    this.target = target;
  }

  /** A request below /api/v1, with the key; only the failure to get any answer throws. */
  request(path: string, options: RequestOptions = {}): Promise<Response> {
    return this.fetch(`/api/v1${path}`, options);
  }

  /** A request of the gateway, with the key unless told otherwise; only the failure to get any answer throws. */
  async fetch(path: string, options: RequestOptions = {}): Promise<Response> {
    const key = options.withoutKey ? undefined : this.target.key;
    const headers = checkedHeaders({
      ...options.headers,
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
    });
    if (options.json !== undefined) headers.set('content-type', 'application/json');
    const body = options.json === undefined ? options.body : JSON.stringify(options.json);
    try {
      return await fetch(`${this.target.url}${path}`, {
        method: options.method ?? 'GET',
        headers,
        redirect: 'manual',
        ...(body !== undefined && { body }),
        ...(body instanceof ReadableStream && { duplex: 'half' }),
        ...(options.signal && { signal: options.signal }),
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw unreachable(this.target.url, error);
    }
  }

  /** The error that a refused request stands for. */
  async failure(response: Response): Promise<CliError> {
    const text = await response.text().catch(() => '');
    const body = ErrorBody.safeParse(parseJson(text));
    const remedy = response.status === 401 ? remedyOfRefusal(this.target) : undefined;
    const kind = response.status === 401 || response.status === 403 ? 'forbidden' : 'failed';
    if (body.success) {
      const { code, message, next, details } = body.data.error;
      return new CliError(kind, message, { code, next, details, ...remedy });
    }
    const what = `${this.target.url} answered ${response.status} ${response.statusText}`.trim();
    // A HEAD has no body that could say more.
    if (kind === 'forbidden') {
      return new CliError(kind, `${what}: the key was not accepted`, { next: 'offshoot login', ...remedy });
    }
    return new CliError(kind, `${what}, which is not how a gateway answers`, {
      code: 'bad_answer',
      next: `see what serves that URL: curl -i ${this.target.url}/api/v1/openapi.json`,
    });
  }

  /** The answer of a request, checked by its schema. */
  protected async json<T>(schema: z.ZodType<T>, path: string, options: RequestOptions = {}): Promise<T> {
    const response = await this.request(path, options);
    if (!response.ok) throw await this.failure(response);
    const text = await response.text();
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    throw new CliError('failed', `the gateway's answer to ${path} is not what this version expects`, {
      code: 'bad_answer',
      lines: parsed.error.issues.slice(0, 5).map((issue) => `${issue.path.join('.')}: ${issue.message}`),
      next: 'use the same version on both sides: offshoot --version',
    });
  }

  /** A request whose answer has no body that matters. */
  protected async nothing(path: string, method: string): Promise<void> {
    const response = await this.request(path, { method });
    if (!response.ok) throw await this.failure(response);
    await response.arrayBuffer();
  }
}

/** Some come from the command line as they are, and HTTP does not carry every character. */
function checkedHeaders(given: Readonly<Record<string, string>>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(given)) {
    try {
      headers.set(name, value);
    } catch (error) {
      const shown = name === 'authorization' ? 'the key' : `"${value}"`;
      throw new CliError(
        'usage',
        `${shown} cannot be sent as the header ${name}: no line ends, nothing beyond Latin-1`,
        {
          code: 'bad_usage',
          next: name === 'authorization' ? 'offshoot login' : 'offshoot help',
          cause: error,
        },
      );
    }
  }
  return headers;
}

function unreachable(url: string, error: unknown): CliError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const local = url === DEFAULT_URL;
  return new CliError('unreachable', `no gateway answers at ${url}: ${messageOf(cause) || 'no connection'}`, {
    next: local
      ? 'start the platform: npm start (in its checkout), or: offshoot dev'
      : 'correct the URL: offshoot login --url URL',
    cause: error,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
