/**
 * Finds and kills the descendants of a process, proc_pid_task(5). The watchdog needs this for a process that SIGKILL alone does
 * not end.
 */
import { readdir, readFile } from 'node:fs/promises';

async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(
    threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '')),
  );
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
}

/** All descendants, parents before their children. */
async function descendantsOf(pid: number): Promise<number[]> {
  const children = await childrenOf(pid);
  const further = await Promise.all(children.map(descendantsOf));
  return [...children, ...further.flat()];
}

/**
 * Kills all descendants of a process by SIGKILL. A process that sleeps for a lock receives no signal, not even SIGKILL, until the
 * holder releases the lock; the holder may be one of its descendants.
 */
export async function killDescendants(pid: number): Promise<void> {
  for (const descendant of await descendantsOf(pid)) {
    try {
      process.kill(descendant, 'SIGKILL');
    } catch {
      // The descendant has ended since, or it belongs to another user and ends with its parent.
    }
  }
}
