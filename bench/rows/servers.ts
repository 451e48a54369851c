/** Servers that answer the same small JSON: our whole platform, and peers that have less to do. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startServing } from '../measure/children.ts';
import { answersOk, freePort } from '../measure/http-load.ts';
import { HELLO } from './sandbox-rows.ts';

export interface Server {
  readonly row: string;
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** The servers that can be started one by one; each throws when it does not come up. */
export function peerServers(temporary: string): { row: string; start: () => Promise<Server> }[] {
  const workerd = 'workerd (in-process, no queue, no sandbox)';
  return [
    script('hono alone (no queue, no sandbox)', 'hono.ts'),
    { row: workerd, start: () => serve(workerd, (port) => workerdCommand(temporary, port)) },
    script('node:http alone (no queue, no sandbox)', 'node-http.ts'),
  ];
}

function script(row: string, file: string): { row: string; start: () => Promise<Server> } {
  const command = async (port: number): Promise<string[]> => [
    process.execPath,
    pathOf(`../peers/${file}`),
    String(port),
  ];
  return { row, start: () => serve(row, command) };
}

async function serve(row: string, command: (port: number) => Promise<string[]>): Promise<Server> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/`;
  const child = await startServing(await command(port), () => answersOk(url));
  return { row, url, stop: child.stop };
}

/** workerd from npm, with the same function as a module worker. */
async function workerdCommand(temporary: string, port: number): Promise<string[]> {
  const directory = join(temporary, 'workerd');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'worker.mjs'), HELLO);
  const config = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (
    modules = [(name = "worker", esModule = embed "worker.mjs")],
    compatibilityDate = "2025-01-01",
  ))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
`;
  await writeFile(join(directory, 'config.capnp'), config);
  return [pathOf('../../node_modules/workerd/bin/workerd'), 'serve', join(directory, 'config.capnp')];
}

function pathOf(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}
