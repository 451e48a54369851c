/**
 * Leads from a stack of a sandbox back to the developer's files. The sandbox has already applied the bundle's source map,
 * so a frame names a source as the map does, below the folder in which the function lies there.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { excerpt } from '../terminal/excerpt.ts';
import { defuse } from '../terminal/text.ts';

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

/** The frame to show: the innermost one in the developer's own code, else the innermost. */
export function ownFrame(frames: readonly Frame[]): Frame | undefined {
  return frames.find(({ file }) => !file.includes(`${path.sep}node_modules${path.sep}`)) ?? frames[0];
}

/** `src/index.ts:3:9` as seen from `directory`, then the lines around it. */
export function showFrame(frame: Frame, directory: string): string[] {
  const place = `${path.relative(directory, frame.file)}:${frame.line}:${frame.column}`;
  try {
    return [place, ...excerpt(readFileSync(frame.file, 'utf8'), frame).map(defuse)];
  } catch {
    return [place];
  }
}
