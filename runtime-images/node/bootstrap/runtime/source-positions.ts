/**
 * Positions in a function's source: stacks name the bundle, but people wrote TypeScript. The source map is tenant data, so it is
 * read only inside the sandbox, at the first stack that is looked at.
 */
import { readFileSync, statSync } from 'node:fs';
import { SourceMapReader } from './source-map.ts';

const TASK = '/var/task/';
const POSITION = /((?:file:\/\/)?)\/var\/task\/([^\s():]+):(\d+:\d+)/g;
/** Upper bound on the size of a map that is read: its text takes memory of the function for a moment. */
const MAX_MAP_BYTES = 24 * 1024 * 1024;
/** Upper bound on kept positions. Code that looks at stacks comes from the same few places. */
const MAX_KEPT = 2_000;

const maps = new Map<string, SourceMapReader | undefined>();
/** `file:line:column` of the bundle → that of the source; undefined where there is none. */
const kept = new Map<string, string | undefined>();
/** Sources that positions name already, relative to TASK. */
const sources = new Set<string>();

/** Replaces positions in the bundle by those in the source, below the function's folder as in the author's project. */
export function mapPositions(text: string): string {
  if (!text.includes(TASK)) return text;
  return text.replace(POSITION, (whole, scheme: string, file: string, position: string) => {
    const found = inSource(file, position);
    return found === undefined ? whole : `${scheme}${TASK}${found}`;
  });
}

/** Names positions as the author does, `src/index.ts:3:9`, whether mapPositions() has replaced them or not. */
export function showPositions(text: string): string {
  if (!text.includes(TASK)) return text;
  return text.replace(POSITION, (whole, _: string, file: string, position: string) =>
    sources.has(file) ? `${file}:${position}` : (inSource(file, position) ?? whole),
  );
}

function inSource(file: string, position: string): string | undefined {
  const key = `${file}:${position}`;
  if (kept.has(key)) return kept.get(key);
  const [line, column] = position.split(':').map(Number);
  const found = mapOf(file)?.find(Number(line) - 1, Number(column) - 1);
  const source = found?.source.replace(/^(?:\.\.?\/)+/, '');
  if (source !== undefined) sources.add(source);
  if (kept.size >= MAX_KEPT) kept.clear();
  const text = found && `${source}:${found.line + 1}:${found.column + 1}`;
  kept.set(key, text);
  return text;
}

function mapOf(file: string): SourceMapReader | undefined {
  if (!maps.has(file)) maps.set(file, readMap(file));
  return maps.get(file);
}

function readMap(file: string): SourceMapReader | undefined {
  // A map of a package names files that the author does not have.
  if (file.includes('node_modules/')) return undefined;
  try {
    const path = `${TASK}${file}.map`;
    return statSync(path).size > MAX_MAP_BYTES ? undefined : new SourceMapReader(readFileSync(path, 'utf8'));
  } catch {
    // There is no readable map, so the bundle's own positions remain.
    return undefined;
  }
}
