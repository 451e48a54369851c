/** A whole platform of the bench's own: worker and gateway as real processes, with their state in a temporary directory. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { create } from 'tar';
import { startServing, type Child } from './children.ts';
import { freePort } from './http-load.ts';
import type { Run } from './run.ts';

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));
const API = '/api/v1';

export interface OwnPlatform {
  /** Deploys a module of one file as a public function; returns its URL. */
  readonly deploy: (
    name: string,
    source: string,
    manifest?: Readonly<Record<string, unknown>>,
  ) => Promise<string>;
  readonly stop: () => Promise<void>;
  /** Its admin key. */
  readonly key: string;
  readonly url: string;
  readonly pids: { readonly gateway: number; readonly worker: number };
}

/** `settings`: additional environment for gateway and worker. */
export async function startOwnPlatform(
  { state, temporary }: Run,
  redisUrl: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<OwnPlatform> {
  const own = join(temporary, 'platform');
  await mkdir(own, { recursive: true });
  await symlink(join(state, 'images'), join(own, 'images'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const env = {
    ...process.env,
    REDIS_URL: redisUrl,
    OFFSHOOT_STATE: own,
    OFFSHOOT_PORT: String(port),
    OFFSHOOT_LOG_LEVEL: 'error',
    ...settings,
  };
  const children: Child[] = [];
  const stop = async (): Promise<void> => {
    // From the front to the back: no new calls, then the end of the running ones.
    for (const child of children.toReversed()) await child.stop();
  };
  try {
    const worker = await startServing(nodeProgram('worker'), async () => true, env);
    children.push(worker);
    const isReady = (): Promise<boolean> => {
      worker.assertRuns();
      return knowsWorker(url);
    };
    const gateway = await startServing(nodeProgram('gateway'), isReady, env);
    children.push(gateway);
    const key = await adminKey(own);
    const pids = { gateway: gateway.pid, worker: worker.pid };
    return { deploy: (...what) => deploy({ url, key, temporary }, ...what), stop, key, url, pids };
  } catch (error) {
    await stop();
    throw error;
  }
}

function nodeProgram(name: string): string[] {
  return [process.execPath, join(CHECKOUT, name, 'main.ts')];
}

async function knowsWorker(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`);
    const health = (await response.json()) as { status: string; workers: number };
    return health.status === 'ok' && health.workers > 0;
  } catch {
    return false;
  }
}

/** The gateway writes it a moment after it listens. */
async function adminKey(state: string): Promise<string> {
  for (let attempt = 0; attempt < 250; attempt++) {
    const key = (await readFile(join(state, 'admin-key'), 'utf8').catch(() => '')).trim();
    if (key) return key;
    await sleep(20);
  }
  throw new Error('the gateway has not written its admin key');
}

async function deploy(
  { url, key, temporary }: { url: string; key: string; temporary: string },
  name: string,
  source: string,
  manifest: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const folder = join(temporary, `function-${name}`);
  await mkdir(folder);
  await writeFile(join(folder, 'index.mjs'), source);
  const file = `${folder}.tar.gz`;
  await create({ gzip: true, portable: true, cwd: folder, file }, ['index.mjs']);
  const archive = Buffer.from(await readFile(file));
  const digest = createHash('sha256').update(archive).digest('hex');
  const send = async (
    method: string,
    path: string,
    type: string,
    body: string | Buffer<ArrayBuffer>,
  ): Promise<void> => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': type };
    const response = await fetch(`${url}${API}${path}`, { method, headers, body });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} was answered ${response.status}: ${text}`);
  };
  await send('PUT', `/artifacts/${digest}`, 'application/gzip', archive);
  const body = { digest, entryFile: 'index.mjs', manifest: { name, access: 'public', ...manifest } };
  await send('POST', `/functions/default/${name}/versions`, 'application/json', JSON.stringify(body));
  return `${url}/fn/default/${name}`;
}
