/**
 * Load over HTTP on the loopback, made by a process of its own (load-generator.ts): the same one for the platform and
 * its peers.
 */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { measureIn } from './children.ts';

const GENERATOR = fileURLToPath(new URL('load-generator.ts', import.meta.url));

/** Number of calls, one at a time; or the time, with many at once. */
export type Effort = { readonly calls: number } | { readonly atOnce: number; readonly seconds: number };

export interface LoadResult {
  readonly calls: number;
  readonly perSecond: number;
  /** Milliseconds of a call. */
  readonly p50: number;
  readonly p99: number;
  /** Time of each call, where they were made one at a time. */
  readonly times: readonly number[];
}

export async function loadHttp(url: string, effort: Effort, stopping: AbortSignal): Promise<LoadResult> {
  const command = [process.execPath, GENERATOR, url, JSON.stringify(effort)];
  return (await measureIn(command, stopping)) as LoadResult;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

export async function answersOk(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
