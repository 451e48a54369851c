/**
 * How long something takes that has to be quick. On a machine that others keep busy, what one sees is how long they took. So what
 * the kernel made the processes wait for a processor, when they were ready to run, is taken off. Work that holds one up is not:
 * that is what is measured.
 */
import { readdirSync, readFileSync } from 'node:fs';

const TICK_MS = 20;
const NS_PER_MS = 1e6;

export class Stopwatch {
  readonly #begun = performance.now();
  readonly #pids: readonly number[];
  readonly #parent: number | undefined;
  readonly #before: ReadonlyMap<number, number>;
  /** This process asks for a processor again and again, so that it is one of those that wait. */
  readonly #timer = setInterval(() => undefined, TICK_MS).unref();

  private constructor(pids: readonly number[], parent?: number) {
    this.#pids = pids;
    this.#parent = parent;
    this.#before = waitedMs([...pids, ...childrenOf(parent)]);
  }

  /** `others`: processes beside this one that do what is timed, one after the other. */
  static start(...others: number[]): Stopwatch {
    return new Stopwatch([process.pid, ...others]);
  }

  /** The same where a child of the first, whichever, has its part in it; that which waited longest counts. */
  static startWithChildren(parent: number, ...others: number[]): Stopwatch {
    return new Stopwatch([process.pid, parent, ...others], parent);
  }

  /** Milliseconds so far that processes were ready to run and had no processor. */
  get late(): number {
    const late = (pids: readonly number[]): number[] =>
      [...waitedMs(pids)].map(([pid, waited]) => waited - (this.#before.get(pid) ?? 0));
    const own = late(this.#pids).reduce((sum, each) => sum + each, 0);
    return own + Math.max(0, ...late(childrenOf(this.#parent)));
  }

  /** Milliseconds since the start, less those. Asks for no processor any more. */
  stop(): number {
    const elapsed = performance.now() - this.#begun;
    clearInterval(this.#timer);
    return elapsed - this.late;
  }
}

/** Of the main thread of each process since its start, by proc(5): the second of three figures. */
function waitedMs(pids: readonly number[]): Map<number, number> {
  const waited = new Map<number, number>();
  for (const pid of pids) {
    const figure = Number(readOr(`/proc/${pid}/schedstat`).split(' ')[1]);
    // A kernel that does not count it has all of the time as a process's own.
    if (Number.isFinite(figure)) waited.set(pid, figure / NS_PER_MS);
  }
  return waited;
}

/** All processes below it. */
function childrenOf(parent: number | undefined): number[] {
  if (parent === undefined) return [];
  const found = new Set([parent]);
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name): [number, number] => [
      Number(name),
      Number(/^\d+ \([^]*\) \S (\d+)/.exec(readOr(`/proc/${name}/stat`))?.[1]),
    ]);
  for (let size = 0; size < found.size;) {
    size = found.size;
    for (const [pid, above] of parents) if (found.has(above)) found.add(pid);
  }
  found.delete(parent);
  return [...found];
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

/** The value below which `percent` percent of all values lie. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? Number.NaN;
}
