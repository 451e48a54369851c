/**
 * Leads from a stack of Node back to the developer's files. The sandbox has already applied the source map. So a frame names a source
 * as the map does, below the folder of the function in the sandbox.
 */
import path from 'node:path';

/** Where a function's code lies in its sandbox. */
const TASK = '/var/task';

export interface Frame {
  /** Absolute path on this machine. */
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** The frames of a stack that lie in known sources, the innermost first. */
export function framesOf(stack: string, sources: ReadonlyMap<string, string>): Frame[] {
  const byPlace = new Map<string, string>();
  for (const [name, file] of sources) {
    // The sandbox names a source outside of the function's folder without the steps up.
    byPlace.set(path.posix.resolve(TASK, name.replace(/^(?:\.\.\/)+/, '')), file);
  }
  const frames: Frame[] = [];
  for (const text of stack.split('\n')) {
    const match = /([^\s()]+):(\d+):(\d+)\)?\s*$/.exec(text);
    if (!match) continue;
    const [, place = '', line, column] = match;
    const file = byPlace.get(path.posix.resolve(TASK, place.replace(/^file:\/\//, '')));
    if (file !== undefined) frames.push({ file, line: Number(line), column: Number(column) });
  }
  return frames;
}
