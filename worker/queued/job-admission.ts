/**
 * Takes quota leases for queued invocations whose function or namespace is limited. An invocation without a lease is moved back
 * for a while; that counts as no attempt, and no failure.
 */
import type { OpenInvocation } from '#contract/invocations/invocation.ts';
import { quotaOf, type NamespaceLimits } from '#contract/functions/quota.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { QuotaLease, QuotaLeases, Refusal } from '#storage/limits/quota-leases.ts';
import { sharedNow } from '#storage/redis/clock.ts';

/** Interval between looks at the jobs of a namespace that is at its limit: the next job may be of another function. */
const NEXT_LOOK_MS = 10;
/**
 * Time for which an invocation is moved back. It grows with the number of invocations refused in a row, since all will be looked
 * at again.
 */
const BACK_FIRST_MS = 100;
const BACK_STEP_MS = 10;
const BACK_LAST_MS = 10_000;

export interface AdmissionOptions {
  readonly functions: Pick<FunctionRepository, 'record'>;
  readonly leases: QuotaLeases;
  readonly limitsOf: (namespace: string) => NamespaceLimits | undefined;
  /** Stops fetching jobs of the namespace for this many milliseconds; 0 ends the pause. */
  readonly pause: (namespace: string, milliseconds: number) => void;
}

/** `at`: Unix time of the next look. `lease`: undefined when nothing is limited. */
export type Admitted = { readonly at: number } | { readonly lease: QuotaLease | undefined };

const UNLIMITED: Admitted = { lease: undefined };

export class JobAdmission {
  readonly #options: AdmissionOptions;
  /** Number of invocations refused one after the other, by namespace. */
  readonly #inVain = new Map<string, number>();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Decides about an invocation that is due. */
  async admit({ id, namespace, name }: OpenInvocation): Promise<Admitted> {
    const { functions, leases, limitsOf } = this.#options;
    // Read anew for each invocation, so that a deploy changes the limits of those that wait already.
    const record = await functions.record(namespace, name);
    const quota = record && quotaOf(record.settings, limitsOf(namespace));
    if (!quota) return UNLIMITED;
    const taken = await leases.take(namespace, name, quota, id);
    if ('refused' in taken) return { at: this.#moveBack(namespace, taken.refused) };
    this.#inVain.delete(namespace);
    const leave = (): void => {
      taken.leave();
      // Invocations that were moved back may begin now.
      this.#inVain.delete(namespace);
      this.#options.pause(namespace, 0);
    };
    return { lease: { leave } };
  }

  #moveBack(namespace: string, { waitMs = 0 }: Refusal): number {
    const before = this.#inVain.get(namespace) ?? 0;
    this.#inVain.set(namespace, before + 1);
    this.#options.pause(namespace, NEXT_LOOK_MS);
    const back = Math.min(BACK_LAST_MS, BACK_FIRST_MS + before * BACK_STEP_MS);
    // Random, so that invocations moved back together do not return together.
    return sharedNow() + Math.max(Math.min(waitMs, BACK_LAST_MS), back * (0.5 + Math.random() / 2));
  }
}
