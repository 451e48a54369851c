/**
 * Keeps unpacked code on this host: one read-only directory for each archive and namespace, bound into sandboxes. An archive is
 * unpacked once, beside its final place, and appears there whole.
 *
 * The workers of a host share the store. Each holds a shared lock (flock(2)) on the directories that it uses; the kernel drops
 * the lock when the worker dies. Only a worker that gets the exclusive lock removes a directory.
 */
import { randomUUID } from 'node:crypto';
import { constants, fstatSync, renameSync, statSync } from 'node:fs';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { unpackArchive } from '#storage/artifacts/archive.ts';
import type { ArtifactStore } from '#storage/artifacts/artifacts.ts';
import { missing } from '#storage/artifacts/files.ts';
import { native } from '../native/addon.ts';

/** Code that stays on disk until it is released. */
export interface HeldCode {
  /** Name of its directory below the namespace's store. */
  readonly directory: string;
  /** To be called when no sandbox runs the code any more. */
  readonly release: () => void;
}

interface Held {
  users: number;
  usedAt: Date;
  /**
   * The locked directory. Also a single flight: callers that need the archive while it is being unpacked await the same promise.
   */
  readonly opened: Promise<FileHandle>;
}

/** Pause before another attempt: another worker holds the exclusive lock only until it has renamed the directory. */
const LOOK_AGAIN_MS = 1;

export class CodeStore {
  readonly #root: string;
  readonly #artifacts: ArtifactStore;
  readonly #held = new Map<string, Held>();

  constructor(root: string, artifacts: ArtifactStore) {
    this.#root = root;
    this.#artifacts = artifacts;
  }

  /** Unpacks the archive unless it is there, and keeps it until it is released. */
  async hold(namespace: string, digest: string): Promise<HeldCode> {
    const key = `${namespace}/${digest}`;
    let held = this.#held.get(key);
    if (!held) {
      held = { users: 0, usedAt: new Date(), opened: this.#open(namespace, digest) };
      this.#held.set(key, held);
    }
    const mine = held;
    mine.users++;
    try {
      await mine.opened;
    } catch (error) {
      // Do not cache a failure: the disk may have room again, the archive may have arrived.
      if (this.#held.get(key) === mine) this.#held.delete(key);
      throw error;
    }
    let released = false;
    return {
      directory: digest,
      release: () => {
        if (released) return;
        released = true;
        mine.users--;
        mine.usedAt = new Date();
      },
    };
  }

  /**
   * Unlocks code that this worker no longer uses, so that other workers may remove it, and writes its last use to disk. Until
   * then, holding the lock is cheaper.
   */
  async letGo(): Promise<void> {
    for (const [key, held] of this.#held) {
      if (held.users > 0) continue;
      this.#held.delete(key);
      const directory = await held.opened;
      await directory.utimes(held.usedAt, held.usedAt);
      await directory.close();
    }
  }

  /** Removes the code unless a worker holds it. Returns whether it did. */
  async discard(namespace: string, digest: string): Promise<boolean> {
    if (this.#held.has(`${namespace}/${digest}`)) return false;
    const path = join(this.#root, namespace, digest);
    const gone = temporaryIn(this.#root, namespace);
    const directory = await openDirectory(path);
    if (!directory) return false;
    try {
      // All synchronous: a sandbox of this worker that needs the code cannot start in between.
      if (!native.lock(directory.fd, true) || !isAt(directory.fd, path)) return false;
      renameSync(path, gone);
    } finally {
      await directory.close();
    }
    await rm(gone, { recursive: true, force: true });
    return true;
  }

  async #open(namespace: string, digest: string): Promise<FileHandle> {
    const path = join(this.#root, namespace, digest);
    for (;;) {
      const directory = await openDirectory(path);
      if (!directory) {
        await this.#unpack(namespace, digest);
        continue;
      }
      if (native.lock(directory.fd, false) && isAt(directory.fd, path)) {
        const now = new Date();
        await directory.utimes(now, now);
        return directory;
      }
      await directory.close();
      await sleep(LOOK_AGAIN_MS);
    }
  }

  async #unpack(namespace: string, digest: string): Promise<void> {
    const target = join(this.#root, namespace, digest);
    const temporary = temporaryIn(this.#root, namespace);
    await mkdir(join(this.#root, namespace), { recursive: true });
    try {
      await unpackArchive(await this.#artifacts.open(digest), temporary);
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      // Another worker of this host may have unpacked it first.
      if (!(await stat(target).catch(missing))) throw error;
    }
  }
}

/** Returns a name that no digest has, in the same file system. */
function temporaryIn(root: string, namespace: string): string {
  return join(root, namespace, `.${randomUUID()}`);
}

async function openDirectory(path: string): Promise<FileHandle | undefined> {
  return await open(path, constants.O_RDONLY | constants.O_DIRECTORY).catch(missing);
}

/** Is the opened directory still the one at the path? */
function isAt(fd: number, path: string): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  const opened = fstatSync(fd);
  return there !== undefined && there.ino === opened.ino && there.dev === opened.dev;
}
