/**
 * A worker's lower half on a bench: real cgroups, a real launcher and zygote, real sandboxes, but no Redis and no pool.
 * For tests of a single sandbox, and of its remains after its end.
 */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChannelKind } from '#contract/wire/channel.ts';
import type { Runtime } from '#contract/functions/manifest.ts';
import { decodePayload, encodePayload, type ResponseMeta } from '#contract/wire/payload.ts';
import { detectCgroups } from '../../../worker/cgroup/detect.ts';
import type { Cgroup } from '../../../worker/cgroup/driver.ts';
import type { SandboxNetwork } from '../../../worker/network/egress.ts';
import { Sandbox } from '../../../worker/sandbox/sandbox.ts';
import { DEFAULT_FILE_LIMITS } from '../../../worker/sandbox/specialise.ts';
import { SandboxNumbers } from '../../../worker/sandbox/zygote/sandbox-numbers.ts';
import { ownRanges } from '../../../worker/sandbox/zygote/subids.ts';
import { Zygote } from '../../../worker/sandbox/zygote/zygote.ts';

const MB = 1024 * 1024;
/** Shared by all benches, as a worker shares it among its zygotes: no two live sandboxes are the same user. */
const numbers = new SandboxNumbers();

/** Milliseconds that each part of a start took, as the worker sees it. */
export interface StartTimings {
  readonly cgroup: number;
  /** Fork, cgroup, namespaces, file system: until the sandbox waits for a function. */
  readonly prepare: number;
  /** Code, identity, privileges, audit, filter. */
  readonly isolate: number;
  /** The function's module. */
  readonly load: number;
}

export interface BenchSandbox {
  readonly timings: StartTimings;
  readonly sandbox: Sandbox;
  readonly cgroup: Cgroup;
  /** System calls that were refused during the call. */
  readonly refused: string[];
  /** Calls the function with a path; returns status and body. */
  call(path?: string, options?: CallOptions): Promise<{ status: number; text: string }>;
  /** All output up to now: frames and text. */
  said(): string;
  /** Ends it and waits until nothing of it is left. */
  end(): Promise<void>;
}

export interface StartOptions {
  /** The function's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly pids?: number;
  readonly pendingSignals?: number;
  readonly network?: SandboxNetwork | undefined;
  readonly memoryMb?: number;
  /** The setting of offshoot.json. */
  readonly tracing?: boolean;
  readonly cpu?: number;
  readonly tmpPrograms?: boolean;
  /** Path of its module, from the root of its code. */
  readonly entry?: string;
  /** Time after which a sandbox that is not ready is ended, which fails the start. */
  readonly withinMs?: number;
  /** Discards its output, for a sandbox that may print without end. */
  readonly forget?: boolean;
  /** Called with the cgroup of a sandbox that failed to start, after its end and before the cgroup is removed. */
  readonly onFailure?: (cgroup: Cgroup) => void;
}

/** Parts of a call besides its path. */
export interface CallOptions {
  readonly method?: string;
  readonly headers?: readonly [string, string][];
  readonly body?: Uint8Array | string;
  /** Context of the run's span; without it, the sandbox records no spans. */
  readonly traceparent?: string;
}

export class SandboxBench {
  readonly zygote: Zygote;
  /** Directory of the functions' code, on the host. */
  readonly store: string;
  readonly #ownsStore: boolean;
  readonly #driver = detectCgroups();
  #codes = 0;

  private constructor(zygote: Zygote, store: string, ownsStore: boolean) {
    this.zygote = zygote;
    this.store = store;
    this.#ownsStore = ownsStore;
  }

  /**
   * `image`: the root of another image than the runtime's. `codes`: a directory that already holds functions.
   * `devices`: the directory of the device sets.
   */
  static async open(
    runtime: Runtime = 'node26',
    image?: string,
    codes?: string,
    devices?: string,
  ): Promise<SandboxBench> {
    const state = process.env['OFFSHOOT_STATE'];
    if (!state) throw new Error('OFFSHOOT_STATE is not set; run the tests by: npm test');
    const store = codes ?? (await mkdtemp(join(tmpdir(), 'offshoot-store-')));
    const zygote = new Zygote({
      image: image ?? join(state, 'images', runtime),
      store,
      ...ownRanges(),
      ...(devices && { devices }),
    });
    await zygote.ready;
    return new SandboxBench(zygote, store, codes === undefined);
  }

  /** Stores a module's source, and programs beside it; returns the name that start() takes. */
  async addCode(source: string, programs: Readonly<Record<string, Buffer>> = {}): Promise<string> {
    const name = `code-${this.#codes++}`;
    await mkdir(join(this.store, name));
    await writeFile(join(this.store, name, 'index.mjs'), source);
    for (const [file, bytes] of Object.entries(programs))
      await writeFile(join(this.store, name, file), bytes, { mode: 0o755 });
    return name;
  }

  /** Stores the content of a directory, with its links and modes; returns the name that start() takes. */
  async addDirectory(source: string): Promise<string> {
    const name = `code-${this.#codes++}`;
    await cp(source, join(this.store, name), { recursive: true, verbatimSymlinks: true });
    return name;
  }

  /**
   * `prepareFirst`: the sandbox gets its function only once it is prepared, as those of the pool do. Otherwise it gets
   * the function at once, and goes on without waiting for the worker.
   */
  async start(code: string, prepareFirst = false, options: StartOptions = {}): Promise<BenchSandbox> {
    const limits = { memoryMb: options.memoryMb ?? 128, cpu: options.cpu ?? 1, pids: options.pids ?? 64 };
    const id = `test-${process.pid}-${randomBytes(6).toString('hex')}`;
    const slot = numbers.take();
    const start = performance.now();
    const cgroup = this.#driver.create(id, {
      memoryBytes: limits.memoryMb * MB,
      cpu: limits.cpu,
      pids: limits.pids,
    });
    const limited = performance.now();
    const sandbox = new Sandbox({ id, slot, scratchMb: 64, cgroup, zygote: this.zygote });
    const init = {
      namespace: 'test',
      name: 'test',
      version: 1,
      entry: options.entry ?? 'index.mjs',
      env: options.env ?? {},
      memory: limits.memoryMb,
      timeout: 30,
      initTimeout: 10,
      payloadFormat: '2.0' as const,
      concurrency: 1,
      tracing: options.tracing ?? true,
    };
    let said = '';
    const hear = (bytes: Buffer): void => {
      if (options.forget !== true) said += bytes.toString('latin1');
    };
    sandbox.onUnclaimed = {
      begun: () => undefined,
      withdrawn: () => undefined,
      frame: (_, payload) => hear(payload),
      output: (_, bytes) => hear(bytes),
      // A call refused to a process that an earlier call has left.
      refused: (name) => refused.push(name),
    };
    const refused: string[] = [];
    const end = async (): Promise<void> => {
      sandbox.kill();
      await sandbox.ended;
      await cgroup.remove();
    };
    const clock =
      options.withinMs === undefined ? undefined : setTimeout(() => sandbox.kill(), options.withinMs);
    try {
      if (prepareFirst) await sandbox.prepared;
      const own = {
        ...DEFAULT_FILE_LIMITS,
        pendingSignals: options.pendingSignals ?? DEFAULT_FILE_LIMITS.pendingSignals,
        tmpPrograms: options.tmpPrograms ?? false,
        memory: limits.memoryMb,
        cpu: limits.cpu,
      };
      const { isolated, ready } = sandbox.specialise(code, 'test', init, own, options.network);
      await sandbox.prepared;
      const prepared = performance.now();
      await isolated;
      const isolatedAt = performance.now();
      await ready;
      const timings = {
        cgroup: limited - start,
        prepare: prepared - limited,
        isolate: isolatedAt - prepared,
        load: performance.now() - isolatedAt,
      };
      return {
        timings,
        sandbox,
        cgroup,
        refused,
        call: (path = '/', request = {}) => call(sandbox, path, request, hear, refused),
        said: () => said,
        end,
      };
    } catch (error) {
      sandbox.kill();
      await sandbox.ended;
      options.onFailure?.(cgroup);
      await cgroup.remove();
      throw error;
    } finally {
      clearTimeout(clock);
    }
  }

  async close(): Promise<void> {
    await this.zygote.stop();
    if (this.#ownsStore) await rm(this.store, { recursive: true, force: true });
  }
}

function call(
  sandbox: Sandbox,
  path: string,
  { method = 'GET', headers = [], body = '', traceparent = '' }: CallOptions,
  hear: (bytes: Buffer) => void,
  refused: string[],
): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const request = encodePayload(
    { kind: 'http', method, url: `http://test${path}`, headers: [...headers] },
    Buffer.from(body),
  );
  const context = { id: 'test', remainingMs: 30_000, traceparent };
  const parts: Buffer[] = [];
  let status = 0;
  const handle = sandbox.invoke(context, request, {
    frame: (kind, payload) => {
      hear(payload);
      if (kind === ChannelKind.RESULT || kind === ChannelKind.HEAD) {
        const { meta, body: first } = decodePayload(payload);
        status = (meta as ResponseMeta).status;
        parts.push(first);
      }
      if (kind === ChannelKind.CHUNK) parts.push(payload);
      if (kind === ChannelKind.RESULT || kind === ChannelKind.END)
        resolve({ status, text: Buffer.concat(parts).toString() });
      if (kind === ChannelKind.FAILED) reject(new Error(payload.toString()));
      if (kind === ChannelKind.SETTLED) sandbox.release(handle);
    },
    output: (_, bytes) => hear(bytes),
    begun: () => undefined,
    withdrawn: () => undefined,
    refused: (name) => refused.push(name),
  });
  void sandbox.ended.then((exit) => reject(new Error(`sandbox ended: ${JSON.stringify(exit)}`)));
  return promise;
}
