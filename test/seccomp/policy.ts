/** The system call filter by its entries (worker/native/seccomp/policy.h), and filters that lack some of them. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const COMPILER = fileURLToPath(new URL('../../worker/native/build/seccomp_compile', import.meta.url));

/** One entry that the filter allows. */
export interface Entry {
  readonly number: number;
  /** `openat`, `fcntl(F_GETFD)`. */
  readonly name: string;
  /** No step of this workload needs it, but it is kept for a reason. */
  readonly kept: boolean;
}

export async function allowedEntries(): Promise<Entry[]> {
  const { stdout } = await run(COMPILER, ['entries']);
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const [number, mark, name = ''] = line.split('\t');
      return { number: Number(number), name, kept: mark === 'kept' };
    });
}

/** The instructions of the filter without these entries, as the kernel takes them. */
export async function filterWithout(entries: Iterable<Entry>): Promise<Buffer> {
  const numbers = Array.from(entries, ({ number }) => String(number));
  const { stdout } = await run(COMPILER, ['instructions', ...numbers], { encoding: 'buffer' });
  return stdout;
}
