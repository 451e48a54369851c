/** Reads a sandbox's reports of its preparation and isolation: how long each step took, and which protections are in force. */
import { LINUX_NAMESPACES, type LinuxNamespace } from '#contract/functions/isolation.ts';
import { SECCOMP_FILTER } from '../native/addon.ts';

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

/** Reads the payload of PREPARED or ISOLATED: unsigned 32-bit numbers. */
export function readNumbers(payload: Buffer): number[] {
  return Array.from({ length: payload.length >> 2 }, (_, index) => payload.readUInt32LE(index * 4));
}

/** PR_SPEC_DISABLE and PR_SPEC_FORCE_DISABLE, prctl(2). */
const SPECULATION_DISABLED = 4 | 8;

/** Reads the numbers of ISOLATED that follow its phases. */
export function readFacts([
  landlockAbi = 0,
  sessionKeyring = 0,
  speculation = 0,
  ...namespaces
]: readonly number[]): IsolationFacts {
  const named = LINUX_NAMESPACES.map((name, index) => [name, namespaces[index] ?? 0]);
  return {
    landlockAbi,
    sessionKeyring,
    branchSpeculation: speculation & SPECULATION_DISABLED ? 'disabled' : 'as the host',
    seccompFilter: SECCOMP_FILTER.sha256,
    namespaces: Object.fromEntries(named) as Record<LinuxNamespace, number>,
  };
}
