/** Shows the place of an error in the developer's own files. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Frame } from '../bundle/terms/frames.ts';
import { excerpt } from '../terminal/excerpt.ts';
import { defuse } from '../terminal/text.ts';

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
