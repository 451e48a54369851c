/**
 * Describes a function's errors with positions in its source: stacks name the bundle, but people wrote TypeScript. The source map
 * is tenant data, so it is read only inside the sandbox, at the first error.
 */
import { readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';

const TASK = '/var/task/';
const POSITION = /(?:file:\/\/)?(\/var\/task\/[^\s():]+):(\d+):(\d+)/g;
const maps = new Map<string, SourceMap | undefined>();

export interface DescribedError {
  name: string;
  message: string;
  stack?: string;
}

export function describeError(thrown: unknown): DescribedError {
  if (!(thrown instanceof Error)) {
    return { name: 'Error', message: `a value that is not an Error was thrown: ${safeString(thrown)}` };
  }
  try {
    const described: DescribedError = { name: thrown.name, message: thrown.message };
    if (typeof thrown.stack === 'string') described.stack = mapPositions(withoutPlatform(thrown.stack));
    return described;
  } catch (error) {
    // Getters of a tenant's error may throw as well.
    return { name: 'Error', message: `an error that cannot be read was thrown: ${safeString(error)}` };
  }
}

/** Cuts off the frames below the function's own: they are the platform's, and of no use to the author. */
function withoutPlatform(stack: string): string {
  const lines = stack.split('\n');
  const first = lines.findIndex((line) => line.includes('/opt/offshoot/bootstrap.cjs'));
  return first > 0 ? lines.slice(0, first).join('\n') : stack;
}

/** Replaces each position in the bundle by the position in the source. */
export function mapPositions(text: string): string {
  if (!text.includes(TASK)) return text;
  return text.replace(POSITION, (whole: string, file: string, line: string, column: string) => {
    const entry = mapOf(file)?.findEntry(Number(line) - 1, Number(column) - 1);
    if (!entry || !('originalSource' in entry) || typeof entry.originalSource !== 'string') return whole;
    const source = entry.originalSource.replace(/^(?:\.\.?\/)+/, '');
    return `${source}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
  });
}

function mapOf(file: string): SourceMap | undefined {
  if (!maps.has(file)) {
    let map: SourceMap | undefined;
    try {
      map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8')) as SourceMapPayload);
    } catch {
      // There is no readable map, so the bundle's own positions remain.
    }
    maps.set(file, map);
  }
  return maps.get(file);
}

function safeString(value: unknown): string {
  try {
    return String(value);
  } catch {
    return typeof value;
  }
}
