/** Projects as users bring them, deployed to a running platform and called over HTTP. */
import { request as httpRequest } from 'node:http';
import type { Readable } from 'node:stream';
import { Platform, type CliResult } from '../platform/platform.ts';
import { RealBench, type Files } from './project.ts';

export interface LiveAnswer {
  readonly status: number;
  /** Name and value, in lower case, repeated ones repeated. */
  readonly headers: readonly (readonly [string, string])[];
  readonly bytes: Buffer;
  readonly text: string;
  /** Set when the connection was cut before the end. */
  readonly broken?: string;
  /** Milliseconds until the head was there, and until the end. */
  readonly headAt: number;
  readonly endAt: number;
}

export interface LiveRequest {
  readonly method?: string;
  /** Flat list of names and values, sent as they are. */
  readonly headers?: readonly string[];
  readonly body?: string | Buffer | Readable;
}

let deployed = 0;

export class Live {
  readonly platform: Platform;
  readonly #bench: RealBench;

  private constructor(platform: Platform, bench: RealBench) {
    this.platform = platform;
    this.#bench = bench;
  }

  static async open(environment: Readonly<Record<string, string>> = {}): Promise<Live> {
    return new Live(await Platform.start(environment), await RealBench.open());
  }

  async close(): Promise<void> {
    await this.#bench.close();
    await this.platform.stop();
  }

  /** Deploys files; a text is `src/index.js`. Returns the function's name. Throws the output of a failed deploy. */
  async deploy(
    files: string | Files,
    { packages = [], manifest = {} }: { packages?: readonly string[]; manifest?: object } = {},
  ): Promise<string> {
    const { name, result } = await this.tryDeploy(files, { packages, manifest });
    if (result.code !== 0) throw new Error(`deploy of ${name} failed:\n${result.stdout}\n${result.stderr}`);
    return name;
  }

  async tryDeploy(
    files: string | Files,
    { packages = [], manifest = {} }: { packages?: readonly string[]; manifest?: object } = {},
  ): Promise<{ name: string; result: CliResult }> {
    const name = `real-${deployed++}`;
    const given = typeof files === 'string' ? { 'src/index.js': files } : files;
    const entry = Object.keys(given).find((file) => file.startsWith('src/index.')) ?? 'src/index.js';
    const project = await this.#bench.project(
      { ...given, 'offshoot.json': JSON.stringify({ name, entry, access: 'public', ...manifest }) },
      packages,
    );
    return { name, result: await this.platform.cli('deploy', project.folder) };
  }

  /** Calls a function by its URL, without a client that changes anything. */
  async call(
    name: string,
    path = '/',
    { method = 'GET', headers = [], body }: LiveRequest = {},
  ): Promise<LiveAnswer> {
    const url = new URL(this.platform.url);
    const begun = performance.now();
    const flat = ['host', url.host, ...headers];
    const has = (wanted: string): boolean =>
      headers.some((one, index) => index % 2 === 0 && one.toLowerCase() === wanted);
    if (
      (typeof body === 'string' || body instanceof Uint8Array) &&
      !has('content-length') &&
      !has('transfer-encoding')
    )
      flat.push('content-length', String(Buffer.byteLength(body)));
    return await new Promise<LiveAnswer>((resolve, reject) => {
      const request = httpRequest({
        host: url.hostname,
        port: url.port,
        method,
        path: `/fn/default/${name}${path}`,
        headers: flat,
        agent: false,
      });
      request.on('error', reject);
      request.on('response', (response) => {
        const headAt = performance.now() - begun;
        const pieces: Buffer[] = [];
        const done = (broken?: string): void => {
          const bytes = Buffer.concat(pieces);
          const list: [string, string][] = [];
          for (let at = 0; at < response.rawHeaders.length; at += 2)
            list.push([(response.rawHeaders[at] ?? '').toLowerCase(), response.rawHeaders[at + 1] ?? '']);
          const endAt = performance.now() - begun;
          const status = response.statusCode ?? 0;
          const text = bytes.toString();
          resolve({
            status,
            headers: list,
            bytes,
            text,
            headAt,
            endAt,
            ...(broken !== undefined && { broken }),
          });
        };
        response.on('data', (piece: Buffer) => pieces.push(piece));
        response.on('end', () => done());
        response.on('error', (error) => done(error.message));
      });
      if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) request.end(body);
      else body.pipe(request);
    });
  }

  /** Values of a header. */
  static values(answer: LiveAnswer, name: string): string[] {
    return answer.headers.filter(([one]) => one === name).map(([, value]) => value);
  }
}
