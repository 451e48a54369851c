/** Runs the offshoot command in a process of its own, against a small gateway that answers as the contract says. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { DeployRequest, type DeployResult } from '#contract/api/api.ts';
import { partsOf, shownSettings } from '#contract/functions/settings.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
export const FUNCTIONS = fileURLToPath(new URL('../../functions/', import.meta.url));
export const KEY = 'test-key';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly input?: string;
}

/** A folder that is gone when the test has finished. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'offshoot-cli-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Runs `offshoot ARGS` without any configuration of this machine. */
export function offshoot(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const home = temporaryFolder();
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, ...args],
      {
        cwd: options.cwd ?? home,
        env: {
          PATH: process.env['PATH'] ?? '',
          HOME: home,
          XDG_CACHE_HOME: path.join(tmpdir(), 'offshoot-cli-test-cache'),
          ...options.env,
        },
      },
      (error, stdout, stderr) => {
        const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
        resolve({ code, stdout, stderr });
      },
    );
    child.stdin?.end(options.input ?? '');
  });
}

export type Handler = (
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
) => void | Promise<void>;

export interface FakeGateway {
  readonly url: string;
  /** `METHOD /path` of each request, in order. */
  readonly seen: string[];
  /** Archives that were uploaded, by digest. */
  readonly artifacts: Map<string, Buffer>;
  /** Handlers of this test, by `METHOD /path` without the query. They come before the built-in ones. */
  readonly routes: Map<string, Handler>;
  readonly env: Record<string, string>;
}

export function json(response: ServerResponse, status: number, value: unknown, headers: object = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}

/** A gateway on a free port that keeps artifacts, accepts every deployment and knows one key. */
export async function fakeGateway(): Promise<FakeGateway> {
  const artifacts = new Map<string, Buffer>();
  const routes = new Map<string, Handler>();
  const seen: string[] = [];
  const server = createServer((request, response) => {
    void answer(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = new URL(request.url ?? '/', url);
    const route = `${request.method} ${target.pathname}`;
    seen.push(`${request.method} ${target.pathname}${target.search}`);
    const body = await buffer(request);
    if (target.pathname.startsWith('/api/') && request.headers.authorization !== `Bearer ${KEY}`) {
      return json(response, 401, {
        error: { code: 'unauthorized', message: 'the API key is not known', next: 'sign in: offshoot login' },
      });
    }
    const special = routes.get(route);
    if (special) return special(request, response, body);
    const digest = /\/artifacts\/([0-9a-f]{64})$/.exec(target.pathname)?.[1];
    if (digest !== undefined && request.method === 'HEAD') {
      response.writeHead(artifacts.has(digest) ? 200 : 404).end();
      return;
    }
    if (digest !== undefined && request.method === 'PUT') {
      const good = createHash('sha256').update(body).digest('hex') === digest;
      if (good) artifacts.set(digest, body);
      return json(response, good ? 201 : 400, {});
    }
    const deployed = /^POST \/api\/v1\/functions\/([^/]+)\/([^/]+)\/versions$/.exec(route);
    if (deployed) {
      const [, namespace = '', name = ''] = deployed;
      const sent = DeployRequest.parse(JSON.parse(body.toString()));
      return json(response, 201, deployResult(namespace, name, sent, url));
    }
    if (route === 'GET /api/v1/whoami') {
      return json(response, 200, { namespace: '*', scopes: ['admin'], version: '0.1.0' });
    }
    json(response, 404, {
      error: { code: 'not_found', message: `no route ${route}`, next: 'offshoot list' },
    });
  }

  return { url, seen, artifacts, routes, env: { OFFSHOOT_URL: url, OFFSHOOT_API_KEY: KEY } };
}

function deployResult(namespace: string, name: string, sent: DeployRequest, url: string): DeployResult {
  const now = Date.now();
  const { manifest, ...rest } = sent;
  const { ofFunction, ofVersion } = partsOf(manifest);
  return {
    function: {
      namespace,
      name,
      settings: ofFunction,
      activeVersion: 1,
      createdAt: now,
      updatedAt: now,
      url: `${url}/fn/${namespace}/${name}`,
      active: {
        ...rest,
        version: 1,
        createdAt: now,
        archiveBytes: 1,
        settings: shownSettings(ofVersion),
      },
    },
    load: { acquire: 2.5, init: 7.5 },
  };
}
