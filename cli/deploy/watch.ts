/** Tells when a source file changes: file system events, so that a change is seen in milliseconds. */
import { readdirSync, watch, type FSWatcher, type WatchEventType } from 'node:fs';
import path from 'node:path';

/** Editors write a file in several steps; they are taken as one change when no longer apart than this. */
const SETTLE_MS = 25;
const SKIPPED = /^(?:node_modules|\..*)$/;

export interface SourceWatcher {
  /** Watches the folder of every file in the list as well: sources may lie outside of the function's own folder. */
  also(files: Iterable<string>): void;
  close(): void;
}

/** Calls `onChange` after each change below `directory`, node_modules and hidden files left out. */
export function watchSources(directory: string, onChange: () => void): SourceWatcher {
  return new Sources(directory, onChange);
}

class Sources implements SourceWatcher {
  readonly #directory: string;
  readonly #onChange: () => void;
  /** By folder. */
  readonly #watchers = new Map<string, FSWatcher>();
  /** What is to be watched even after it was gone for a while: the own folder, and those of sources outside of it. */
  readonly #wanted: Set<string>;
  /** Wanted folders that are not there → the watcher of the nearest folder above that is. */
  readonly #awaited = new Map<string, FSWatcher>();
  #timer: NodeJS.Timeout | undefined;

  constructor(directory: string, onChange: () => void) {
    this.#directory = path.resolve(directory);
    this.#onChange = onChange;
    this.#wanted = new Set([this.#directory]);
    this.#add(this.#directory);
  }

  also(files: Iterable<string>): void {
    for (const file of files) {
      if (/[\\/]node_modules[\\/]/.test(file)) continue;
      const folder = path.resolve(path.dirname(file));
      this.#wanted.add(folder);
      this.#add(folder);
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const watcher of [...this.#watchers.values(), ...this.#awaited.values()]) watcher.close();
  }

  #changed(folder: string, event: WatchEventType, file: string | null): void {
    // A folder that is removed or moved away says so under its own name. Its watcher, and after a move those below it,
    // see nothing any more of what comes to be in its place.
    if (event === 'rename' && file === path.basename(folder)) this.#drop(folder);
    else if (file !== null && SKIPPED.test(file)) return;
    // A new folder must be watched before the change that follows its making.
    this.#add(folder);
    for (const wanted of this.#wanted) if (!this.#watchers.has(wanted)) this.#await(wanted);
    this.#settle();
  }

  #settle(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#onChange, SETTLE_MS);
  }

  /** Watches a folder, and what is below it where it is one of the function's own. */
  #add(folder: string): void {
    if (!this.#watchers.has(folder)) {
      const watcher = this.#watch(folder, (event, file) => this.#changed(folder, event, file));
      if (!watcher) return;
      watcher.on('error', () => this.#drop(folder));
      this.#watchers.set(folder, watcher);
    }
    if (folder !== this.#directory && !folder.startsWith(this.#directory + path.sep)) return;
    try {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        if (entry.isDirectory() && !SKIPPED.test(entry.name)) this.#add(path.join(folder, entry.name));
      }
    } catch {
      // It is gone again, which its watcher tells.
    }
  }

  #drop(folder: string): void {
    for (const [one, watcher] of this.#watchers) {
      if (one !== folder && !one.startsWith(folder + path.sep)) continue;
      watcher.close();
      this.#watchers.delete(one);
    }
  }

  /** Looks again for a folder that is gone whenever something changes in the nearest one above it. */
  #await(folder: string): void {
    const above = this.#nearest(path.dirname(folder), () => this.#await(folder));
    this.#awaited.get(folder)?.close();
    this.#awaited.delete(folder);
    // Only now: it may have been made before the one above was watched.
    this.#add(folder);
    if (this.#watchers.has(folder)) {
      above?.close();
      this.#settle();
    } else if (above) this.#awaited.set(folder, above);
  }

  /** A watcher of a folder, or of the nearest one above it that is there. */
  #nearest(folder: string, onEvent: () => void): FSWatcher | undefined {
    const above = path.dirname(folder);
    return this.#watch(folder, onEvent) ?? (above === folder ? undefined : this.#nearest(above, onEvent));
  }

  /** A watcher of one folder, or nothing where there is none. */
  #watch(
    folder: string,
    onEvent: (event: WatchEventType, file: string | null) => void,
  ): FSWatcher | undefined {
    try {
      const watcher = watch(folder, onEvent);
      watcher.on('error', () => watcher.close());
      return watcher;
    } catch {
      return undefined;
    }
  }
}
