/** Tells when a source file changes: file system events, so that a change is seen in milliseconds. */
import { readdirSync, watch, type FSWatcher } from 'node:fs';
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
  const watchers = new Map<string, FSWatcher>();
  let timer: NodeJS.Timeout | undefined;
  const changed = (folder: string, file: string | null): void => {
    if (file !== null && SKIPPED.test(file)) return;
    // A new folder must be watched before the change that follows its making.
    addTree(folder);
    clearTimeout(timer);
    timer = setTimeout(onChange, SETTLE_MS);
  };
  const add = (folder: string): void => {
    if (watchers.has(folder)) return;
    try {
      const watcher = watch(folder, (_event, file) => changed(folder, file));
      watcher.on('error', () => {
        watcher.close();
        watchers.delete(folder);
      });
      watchers.set(folder, watcher);
    } catch {
      // The folder went away between being seen and being watched.
    }
  };
  const addTree = (folder: string): void => {
    add(folder);
    let entries: string[] = [];
    try {
      entries = readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && !SKIPPED.test(entry.name))
        .map((entry) => path.join(folder, entry.name));
    } catch {
      return;
    }
    for (const entry of entries) addTree(entry);
  };
  addTree(directory);
  return {
    also: (files) => {
      for (const file of files) if (!/[\\/]node_modules[\\/]/.test(file)) add(path.dirname(file));
    },
    close: () => {
      clearTimeout(timer);
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}
