/**
 * Bounds the disk space of unpacked code on this host. Over the limit, it removes code that no version of a function names, least
 * recently used first. Code that a version names stays, so that a rollback needs no artifact store.
 */
import type { Stats } from 'node:fs';
import { lstat, opendir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { missing } from '#storage/artifacts/files.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { CodeStore } from './code-store.ts';
import { log } from '../process/log.ts';

export interface CodeCollectorOptions {
  /** Directory of the code store. */
  readonly root: string;
  readonly store: CodeStore;
  readonly functions: Pick<FunctionRepository, 'namedDigests'>;
  readonly maxBytes: number;
}

interface Code {
  readonly namespace: string;
  readonly digest: string;
  readonly bytes: number;
  readonly usedAt: number;
}

const INTERVAL_MS = 300_000;
/** Age after which a half unpacked or half removed directory counts as left by a killed worker. */
const ABANDONED_MS = 24 * 3_600_000;
/** Size of a block in st_blocks, on any file system: stat(3type). */
const BLOCK_BYTES = 512;

export class CodeCollector {
  readonly #options: CodeCollectorOptions;
  /** Sizes by namespace and digest, kept because code does not change and adding up an archive takes up to 20,000 calls. */
  #sizes = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #busy = false;

  constructor(options: CodeCollectorOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#round(), INTERVAL_MS);
    void this.#round();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Runs one round, for the timer and for tests. Resolves to the bytes that all code takes afterwards. */
  async look(): Promise<number> {
    const { store, functions, maxBytes } = this.#options;
    await store.letGo();
    const all = await this.#scan();
    let bytes = all.reduce((sum, code) => sum + code.bytes, 0);
    if (bytes <= maxBytes) return bytes;
    const named = await functions.namedDigests();
    const unnamed = all.filter(({ digest }) => !named.has(digest)).toSorted((a, b) => a.usedAt - b.usedAt);
    for (const code of unnamed) {
      if (bytes <= maxBytes) break;
      if (await store.discard(code.namespace, code.digest)) bytes -= code.bytes;
    }
    return bytes;
  }

  async #round(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const { maxBytes } = this.#options;
      const bytes = await this.look();
      if (bytes > maxBytes)
        log.warn({ bytes, maxBytes }, 'the code that versions of functions name is over OFFSHOOT_CODE_MB');
    } catch (error) {
      // Redis is away; the next round tries again.
      log.warn({ error }, 'unused code could not be looked for');
    } finally {
      this.#busy = false;
    }
  }

  async #scan(): Promise<Code[]> {
    const { root } = this.#options;
    const found: Code[] = [];
    const sizes = new Map<string, number>();
    for (const namespace of (await readdir(root).catch(missing)) ?? []) {
      for (const name of (await readdir(join(root, namespace)).catch(missing)) ?? []) {
        const path = join(root, namespace, name);
        const seen = await lstat(path).catch(missing);
        if (!seen) continue;
        if (name.startsWith('.')) await removeAbandoned(path, seen);
        if (!/^[0-9a-f]{64}$/.test(name)) continue;
        const key = `${namespace}/${name}`;
        const bytes = this.#sizes.get(key) ?? (await bytesOf(path, seen));
        sizes.set(key, bytes);
        found.push({ namespace, digest: name, bytes, usedAt: seen.mtimeMs });
      }
    }
    this.#sizes = sizes;
    return found;
  }
}

async function removeAbandoned(path: string, { mtimeMs }: Stats): Promise<void> {
  if (mtimeMs < Date.now() - ABANDONED_MS) await rm(path, { recursive: true, force: true });
}

/** Bytes that a file or a directory with its contents takes on the disk. */
async function bytesOf(path: string, seen: Stats): Promise<number> {
  let bytes = seen.blocks * BLOCK_BYTES;
  if (!seen.isDirectory()) return bytes;
  for await (const { name } of (await opendir(path).catch(missing)) ?? []) {
    const inner = join(path, name);
    const found = await lstat(inner).catch(missing);
    if (found) bytes += await bytesOf(inner, found);
  }
  return bytes;
}
