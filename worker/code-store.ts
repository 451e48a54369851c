/**
 * Unpacked code on this worker: one directory for each archive and namespace, read-only, bound into sandboxes. An archive
 * is unpacked once, beside its final place, and appears there whole.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { unpackArchive } from '#storage/archive.ts';
import type { ArtifactStore } from '#storage/artifacts.ts';

export class CodeStore {
  readonly #root: string;
  readonly #artifacts: ArtifactStore;
  /** Also the single flight: whoever asks while an archive is being unpacked waits for the same promise. */
  readonly #ready = new Map<string, Promise<string>>();

  constructor(root: string, artifacts: ArtifactStore) {
    this.#root = root;
    this.#artifacts = artifacts;
  }

  /** Gives the name of the directory below the namespace's store. */
  ensure(namespace: string, digest: string): Promise<string> {
    const key = `${namespace}/${digest}`;
    let ready = this.#ready.get(key);
    if (!ready) {
      ready = this.#unpack(namespace, digest);
      this.#ready.set(key, ready);
      // A failure is not remembered: the disk may have room again, the archive may have arrived.
      ready.catch(() => this.#ready.delete(key));
    }
    return ready;
  }

  async #unpack(namespace: string, digest: string): Promise<string> {
    const store = join(this.#root, namespace);
    const target = join(store, digest);
    const exists = await stat(target).catch(() => undefined);
    if (exists) return digest;
    const temporary = join(store, `.${digest}-${randomUUID()}`);
    await mkdir(store, { recursive: true });
    try {
      await unpackArchive(await this.#artifacts.open(digest), temporary);
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      // Another worker of this host may have been first.
      if (!(await stat(target).catch(() => undefined))) throw error;
    }
    return digest;
  }
}
