/**
 * Describes where a process stands, from the kernel's own account: proc(5), proc_pid_wchan(5), proc_pid_syscall(5). A process
 * that hangs cannot say this itself.
 */
import { readFile, readlink } from 'node:fs/promises';

/** System calls of x86-64 in which a process may wait. Those of the second list wait on their first argument, a descriptor. */
const CALLS: Readonly<Record<number, string>> = {
  2: 'open',
  7: 'poll',
  23: 'select',
  35: 'nanosleep',
  61: 'wait4',
  202: 'futex',
  230: 'clock_nanosleep',
  247: 'waitid',
  257: 'openat',
  270: 'pselect6',
  271: 'ppoll',
};
const DESCRIPTOR_CALLS: Readonly<Record<number, string>> = {
  0: 'read',
  1: 'write',
  16: 'ioctl',
  17: 'pread64',
  18: 'pwrite64',
  19: 'readv',
  20: 'writev',
  42: 'connect',
  43: 'accept',
  44: 'sendto',
  45: 'recvfrom',
  46: 'sendmsg',
  47: 'recvmsg',
  72: 'fcntl',
  73: 'flock',
  74: 'fsync',
  75: 'fdatasync',
  77: 'ftruncate',
  232: 'epoll_wait',
  281: 'epoll_pwait',
  288: 'accept4',
  295: 'preadv',
  296: 'pwritev',
  441: 'epoll_pwait2',
};

/** Raw contents of files in /proc/PID; empty where a file could not be read. */
export interface Facts {
  readonly status: string;
  readonly wchan: string;
  readonly syscall: string;
  /** Target of the descriptor that is the call's first argument. */
  readonly target: string;
  /** Name of the process that traces this one. */
  readonly tracer: string;
}

export interface Standing {
  /** True when the process is stopped as a whole, so that none of its threads can answer. */
  readonly stopped: boolean;
  /** True when the process was not waiting in the kernel. */
  readonly running: boolean;
  /** True when only the process's entry in the process table is left. */
  readonly ended: boolean;
  /** Such as `stopped by a signal`, `in pipe_write (write, descriptor 5, pipe:[123])`, `running`. */
  readonly text: string;
}

async function read(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch(() => '');
}

/** Reads the state of a process; its main thread is the one with the same id. Never rejects. */
export async function standingOf(pid: number): Promise<Standing> {
  const [status, wchan, syscall] = await Promise.all(
    ['status', 'wchan', 'syscall'].map((name) => read(`/proc/${pid}/${name}`)),
  );
  const tracer = /^TracerPid:\t(\d+)$/m.exec(status ?? '')?.[1] ?? '0';
  const descriptor = descriptorOf(syscall ?? '');
  return describeStanding({
    status: status ?? '',
    wchan: wchan ?? '',
    syscall: syscall ?? '',
    target: descriptor === undefined ? '' : await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => ''),
    tracer: tracer === '0' ? '' : (await read(`/proc/${tracer}/comm`)).trim(),
  });
}

/** Turns the raw facts into a description. */
export function describeStanding({ status, wchan, syscall, target, tracer }: Facts): Standing {
  const state = /^State:\t(\w)/m.exec(status)?.[1] ?? '?';
  const tracedBy = /^TracerPid:\t(\d+)$/m.exec(status)?.[1] ?? '0';
  const is = { stopped: false, running: false, ended: false };
  if (state === 't' || (state === 'T' && tracedBy !== '0'))
    return { ...is, stopped: true, text: `stopped by a tracer, process ${tracedBy} (${tracer})` };
  if (state === 'T') return { ...is, stopped: true, text: 'stopped by a signal' };
  if (state === 'R') return { ...is, running: true, text: 'running' };
  if (status === '' || state === 'Z' || state === 'X') return { ...is, ended: true, text: 'ended' };
  const call = callOf(syscall);
  const descriptor = descriptorOf(syscall);
  const words = [call, descriptor !== undefined && `descriptor ${descriptor}`, target].filter(Boolean);
  // The kernel shows 0 where it hides the place, and for a process that does not wait.
  const place = wchan === '' || wchan === '0' ? `state ${state} of the kernel` : wchan;
  return { ...is, text: `in ${place}${words.length > 0 ? ` (${words.join(', ')})` : ''}` };
}

/** `1 0x19 0x7ff...` is the number and the arguments; `running` and `-1 ...` are no call. */
function callOf(syscall: string): string | undefined {
  const number = /^(\d+) /.exec(syscall)?.[1];
  if (number === undefined) return undefined;
  return CALLS[Number(number)] ?? DESCRIPTOR_CALLS[Number(number)] ?? `system call ${number}`;
}

function descriptorOf(syscall: string): number | undefined {
  const [, number, first] = /^(\d+) 0x([0-9a-f]+)/.exec(syscall) ?? [];
  if (number === undefined || first === undefined || !(Number(number) in DESCRIPTOR_CALLS)) return undefined;
  return Number.parseInt(first, 16) | 0;
}
