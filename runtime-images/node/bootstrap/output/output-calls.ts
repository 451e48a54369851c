/**
 * Sends the `fs` calls that write to descriptors 1 and 2, as many loggers do, the way of process.stdout, which knows the
 * invocation. From the descriptor's pipe the worker could not tell which invocation wrote the bytes.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

type Call = (...given: never[]) => unknown;
type Write = (bytes: Buffer) => void;

/** Replaces the calls. To be called once. `writers`: by descriptor. */
export function captureOutputCalls(writers: Readonly<Record<number, Write>>): void {
  /** Writes the bytes and returns their number; undefined when the call is none for a writer. */
  const take = (fd: unknown, read: () => Buffer | undefined): number | undefined => {
    const write = typeof fd === 'number' ? writers[fd] : undefined;
    const bytes = write && read();
    if (!write || !bytes) return undefined;
    write(bytes);
    return bytes.length;
  };
  /** `told` returns the results of a call, for its callback or its return value, from the number of bytes written. */
  const replace = (
    name: 'write' | 'writev' | 'writeFile' | 'appendFile',
    read: (data: unknown, rest: readonly unknown[]) => Buffer | undefined,
    told: (written: number, data: unknown) => unknown[],
  ): void => {
    const original = fs[name] as Call;
    const originalSync = fs[`${name}Sync`] as Call;
    put(name, original, (...given: unknown[]) => {
      const done = given.at(-1);
      const written =
        typeof done === 'function' ? take(given[0], () => read(given[1], given.slice(2, -1))) : undefined;
      if (written === undefined) return original.apply(fs, given as never[]);
      process.nextTick(done as () => void, null, ...told(written, given[1]));
      return undefined;
    });
    put(`${name}Sync`, originalSync, (...given: unknown[]) => {
      const written = take(given[0], () => read(given[1], given.slice(2)));
      return written === undefined ? originalSync.apply(fs, given as never[]) : told(written, given[1])[0];
    });
  };
  replace('write', readWrite, (written, data) => [written, data]);
  replace('writev', readAll, (written, data) => [written, data]);
  for (const name of ['writeFile', 'appendFile'] as const) replace(name, readFile, () => []);
  // Named imports see the replacements too.
  syncBuiltinESMExports();
}

/** Replaces a call but keeps the original's properties, such as its promise form. */
function put(name: string, original: Call, replacement: (...given: unknown[]) => unknown): void {
  Object.defineProperties(replacement, Object.getOwnPropertyDescriptors(original));
  Object.defineProperty(fs, name, {
    value: replacement,
    configurable: true,
    enumerable: true,
    writable: true,
  });
}

/** Returns undefined for arguments that it does not understand: the original call then reports their error. */
function bytesOf(data: unknown, encoding: unknown): Buffer | undefined {
  if (typeof data === 'string') {
    const isKnown = typeof encoding === 'string' && Buffer.isEncoding(encoding);
    return encoding === undefined || encoding === null || isKnown
      ? Buffer.from(data, isKnown ? encoding : 'utf8')
      : undefined;
  }
  return ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : undefined;
}

/** Arguments: (text, position, encoding), (view, offset, length, position) or (view, { offset, length, position }). */
function readWrite(data: unknown, [first, second]: readonly unknown[]): Buffer | undefined {
  if (typeof data === 'string') return bytesOf(data, second);
  const all = bytesOf(data, undefined);
  const isObject = typeof first === 'object' && first !== null;
  const options = (isObject ? first : { offset: first, length: second }) as Record<string, unknown>;
  const offset = options['offset'] ?? 0;
  const length = options['length'] ?? (all?.length ?? 0) - Number(offset);
  if (!all || !isCount(offset) || !isCount(length) || offset + length > all.length) return undefined;
  return all.subarray(offset, offset + length);
}

function readAll(data: unknown): Buffer | undefined {
  if (!Array.isArray(data)) return undefined;
  const parts = data.map((part: unknown) =>
    typeof part === 'string' ? undefined : bytesOf(part, undefined),
  );
  return parts.every((part) => part !== undefined) ? Buffer.concat(parts) : undefined;
}

function readFile(data: unknown, [options]: readonly unknown[]): Buffer | undefined {
  const isObject = typeof options === 'object' && options !== null;
  return bytesOf(data, isObject ? (options as { encoding?: unknown }).encoding : options);
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}
