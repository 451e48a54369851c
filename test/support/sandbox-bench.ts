/**
 * A worker's lower half on a bench: real cgroups, a real launcher and zygote, real sandboxes, but no Redis and no pool.
 * For tests that ask what a sandbox is and what is left of it afterwards.
 */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChannelKind } from '#contract/channel.ts';
import type { Runtime } from '#contract/manifest.ts';
import { decodePayload, encodePayload, type ResponseMeta } from '#contract/payload.ts';
import { detectCgroups } from '../../worker/cgroup/detect.ts';
import type { Cgroup } from '../../worker/cgroup/driver.ts';
import type { SandboxNetwork } from '../../worker/network/egress.ts';
import { Sandbox } from '../../worker/sandbox/sandbox.ts';
import { Slots } from '../../worker/sandbox/slots.ts';
import { ownRanges } from '../../worker/sandbox/subids.ts';
import { Zygote } from '../../worker/sandbox/zygote.ts';

const MB = 1024 * 1024;

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
  /** System calls that were refused while it was called. */
  readonly refused: string[];
  /** Calls the function with a path; gives status and body. */
  call(path?: string): Promise<{ status: number; text: string }>;
  /** All that has come out of it so far: frames and output. */
  said(): string;
  /** Ends it and waits until nothing of it is left. */
  end(): Promise<void>;
}

export interface StartOptions {
  /** The function's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly pids?: number;
  readonly network?: SandboxNetwork | undefined;
}

export class SandboxBench {
  readonly zygote: Zygote;
  /** Where the code of its functions is, on the host. */
  readonly store: string;
  readonly #slots = new Slots();
  readonly #driver = detectCgroups();
  #codes = 0;

  private constructor(zygote: Zygote, store: string) {
    this.zygote = zygote;
    this.store = store;
  }

  /** `image`: the root of another image than the runtime's. */
  static async open(runtime: Runtime = 'node26', image?: string): Promise<SandboxBench> {
    const state = process.env['OFFSHOOT_STATE'];
    if (!state) throw new Error('OFFSHOOT_STATE is not set; run the tests by: npm test');
    const store = await mkdtemp(join(tmpdir(), 'offshoot-store-'));
    const zygote = new Zygote({ image: image ?? join(state, 'images', runtime), store, ...ownRanges() });
    await zygote.ready;
    return new SandboxBench(zygote, store);
  }

  /** Stores a module's source, and programs beside it; gives the name that start() takes. */
  async addCode(source: string, programs: Readonly<Record<string, Buffer>> = {}): Promise<string> {
    const name = `code-${this.#codes++}`;
    await mkdir(join(this.store, name));
    await writeFile(join(this.store, name, 'index.mjs'), source);
    for (const [file, bytes] of Object.entries(programs))
      await writeFile(join(this.store, name, file), bytes, { mode: 0o755 });
    return name;
  }

  /** Stores what is in a directory, links and modes as they are; gives the name that start() takes. */
  async addDirectory(source: string): Promise<string> {
    const name = `code-${this.#codes++}`;
    await cp(source, join(this.store, name), { recursive: true, verbatimSymlinks: true });
    return name;
  }

  /**
   * `prepareFirst`: the sandbox learns its function only when it is prepared, as those of the pool do. Otherwise it is
   * told at once, and goes on without waiting for the worker.
   */
  async start(code: string, prepareFirst = false, options: StartOptions = {}): Promise<BenchSandbox> {
    const limits = { memoryMb: 128, cpu: 1, pids: options.pids ?? 64 };
    const id = `test-${process.pid}-${randomBytes(6).toString('hex')}`;
    const slot = this.#slots.take();
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
      entry: 'index.mjs',
      env: options.env ?? {},
      memory: 128,
      timeout: 30,
      concurrency: 1,
    };
    let said = '';
    const hear = (bytes: Buffer): void => {
      said += bytes.toString('latin1');
    };
    sandbox.onUnclaimed = {
      begun: () => undefined,
      withdrawn: () => undefined,
      frame: (_, payload) => hear(payload),
      output: (_, bytes) => hear(bytes),
    };
    if (prepareFirst) await sandbox.prepared;
    const { isolated, ready } = sandbox.specialise(code, 'test', init, undefined, options.network);
    await sandbox.prepared;
    const prepared = performance.now();
    await isolated;
    const isolatedAt = performance.now();
    await ready;
    const refused: string[] = [];
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
      call: (path = '/') => call(sandbox, path, hear, refused),
      said: () => said,
      end: async () => {
        sandbox.kill();
        await sandbox.ended;
        await cgroup.remove();
      },
    };
  }

  async close(): Promise<void> {
    await this.zygote.stop();
    await rm(this.store, { recursive: true, force: true });
  }
}

function call(
  sandbox: Sandbox,
  path: string,
  hear: (bytes: Buffer) => void,
  refused: string[],
): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const request = encodePayload(
    { kind: 'http', method: 'GET', url: `http://test${path}`, headers: [] },
    Buffer.alloc(0),
  );
  const context = { id: 'test', remainingMs: 30_000, traceparent: '' };
  const handle = sandbox.invoke(context, request, {
    frame: (kind, payload) => {
      hear(payload);
      if (kind === ChannelKind.RESULT) {
        const { meta, body } = decodePayload(payload);
        resolve({ status: (meta as ResponseMeta).status, text: body.toString() });
      }
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
