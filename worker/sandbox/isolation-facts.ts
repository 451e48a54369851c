/** What a sandbox says of itself when it is prepared and isolated: how long each step took, and what holds it. */
import { LINUX_NAMESPACES, type LinuxNamespace } from '#contract/functions/isolation.ts';
import { SECCOMP_FILTER } from '../native/addon.ts';

/** What holds a sandbox besides its namespaces, as it said itself when it was isolated, before any code of a tenant ran. */
export interface IsolationFacts {
  /** ABI of the Landlock rules in force; 0 where the kernel has none that is of use. */
  readonly landlockAbi: number;
  /** Number of its own session keyring; 0 where the kernel has no keys. */
  readonly sessionKeyring: number;
  /** Indirect branches of others cannot steer its own, for this process alone; a host may see to that for all instead. */
  readonly branchSpeculation: 'disabled' | 'as the host';
  /** Digest of the instructions of its system call filter. */
  readonly seccompFilter: string;
  /** Inode numbers of its Linux namespaces. */
  readonly namespaces: Readonly<Record<LinuxNamespace, number>>;
}

/** The payload of PREPARED or ISOLATED: unsigned numbers of 32 bits. */
export function readNumbers(payload: Buffer): number[] {
  return Array.from({ length: payload.length >> 2 }, (_, index) => payload.readUInt32LE(index * 4));
}

/** PR_SPEC_DISABLE and PR_SPEC_FORCE_DISABLE, prctl(2). */
const SPECULATION_DISABLED = 4 | 8;

/** The numbers of ISOLATED that come after its phases. */
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
