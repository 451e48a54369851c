/** Reads a sandbox's reports of its preparation and isolation: how long each step took, and which protections are in force. */
import { LINUX_NAMESPACES, type LinuxNamespace } from '#contract/functions/isolation.ts';
import { readIsolated, readPrepared } from '#contract/wire/channel.ts';
import { SECCOMP_FILTER } from '../native/addon.ts';
import { SandboxStartError } from './specialise.ts';

/** Protections of a sandbox besides its namespaces, reported by itself after isolation and before any code of a tenant ran. */
export interface IsolationFacts {
  /** ABI of the Landlock rules in force; 0 where the kernel has no usable one. */
  readonly landlockAbi: number;
  /** Number of the sandbox's own session keyring; 0 where the kernel has no keys. */
  readonly sessionKeyring: number;
  /** `disabled`: other processes cannot steer this process's indirect branches. Otherwise the host's own setting applies. */
  readonly branchSpeculation: 'disabled' | 'as the host';
  /** Digest of the instructions of the sandbox's system call filter. */
  readonly seccompFilter: string;
  /** Inode numbers of the sandbox's Linux namespaces. */
  readonly namespaces: Readonly<Record<LinuxNamespace, number>>;
}

/** PR_SPEC_DISABLE and PR_SPEC_FORCE_DISABLE, prctl(2). */
const SPECULATION_DISABLED = 4 | 8;

/** Report of a sandbox once it is isolated: the microseconds of each phase, and the facts. */
export interface IsolationReport {
  readonly phases: number[];
  readonly facts: IsolationFacts;
}

/** Reads ISOLATED. Throws when the frame is no such report. */
export function readIsolation(payload: Buffer): IsolationReport {
  const isolated = readIsolated(payload);
  if (!isolated) throw new SandboxStartError(`a report of isolation of ${payload.length} bytes`);
  const { phases, landlockAbi, sessionKeyring, branchSpeculation, namespaces } = isolated;
  const named = LINUX_NAMESPACES.map((name, index) => [name, namespaces[index] ?? 0]);
  const facts = {
    landlockAbi,
    sessionKeyring,
    branchSpeculation: branchSpeculation & SPECULATION_DISABLED ? 'disabled' : 'as the host',
    seccompFilter: SECCOMP_FILTER.sha256,
    namespaces: Object.fromEntries(named) as Record<LinuxNamespace, number>,
  } as const;
  return { phases, facts };
}

/** Reads PREPARED: the microseconds of each phase. Throws when the frame is no such report. */
export function readPreparation(payload: Buffer): number[] {
  const prepared = readPrepared(payload);
  if (!prepared) throw new SandboxStartError(`a report of preparation of ${payload.length} bytes`);
  return prepared.phases;
}
