/**
 * Takes places for queued invocations whose function or namespace is limited. One that finds none is moved back for a while:
 * it has not been tried, and does not fail because of it.
 */
import type { OpenInvocation } from '#contract/invocations/invocation.ts';
import { quotaOf, type NamespaceLimits } from '#contract/functions/quota.ts';
import type { QuotaLease, QuotaLeases, Refusal } from '#storage/limits/quota-leases.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import type { Functions } from '../code/version-cache.ts';

/** While nothing of a namespace could begin, the next job is looked at after so long: the next may be of another function. */
const NEXT_LOOK_MS = 10;
/** How long an invocation is moved back: longer the more were looked at in vain, since all of them will be again. */
const BACK_FIRST_MS = 100;
const BACK_STEP_MS = 10;
const BACK_LAST_MS = 10_000;

export interface AdmissionOptions {
  readonly functions: Functions;
  readonly places: QuotaLeases;
  readonly limitsOf: (namespace: string) => NamespaceLimits | undefined;
  /** Nothing of the namespace is to be fetched for so long; 0 is from now on again. */
  readonly pause: (namespace: string, milliseconds: number) => void;
}

/** `at`: Unix time at which to look at it again. Without a place it is not limited. */
export type Admitted = { readonly at: number } | { readonly place: QuotaLease | undefined };

const UNLIMITED: Admitted = { place: undefined };

export class JobAdmission {
  readonly #options: AdmissionOptions;
  /** By namespace: how many found no place, one after the other. */
  readonly #inVain = new Map<string, number>();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Decides of an invocation that is due. */
  async admit({ id, namespace, name, version }: OpenInvocation): Promise<Admitted> {
    const { functions, places, limitsOf } = this.#options;
    const loaded = await functions.get(namespace, name, version);
    const quota = loaded && quotaOf(loaded.manifest, limitsOf(namespace));
    if (!quota) return UNLIMITED;
    const taken = await places.take(namespace, name, quota, id);
    if ('refused' in taken) return { at: this.#moveBack(namespace, taken.refused) };
    this.#inVain.delete(namespace);
    const leave = (): void => {
      taken.leave();
      // What was moved back may begin now.
      this.#inVain.delete(namespace);
      this.#options.pause(namespace, 0);
    };
    return { place: { leave } };
  }

  #moveBack(namespace: string, { waitMs = 0 }: Refusal): number {
    const before = this.#inVain.get(namespace) ?? 0;
    this.#inVain.set(namespace, before + 1);
    this.#options.pause(namespace, NEXT_LOOK_MS);
    const back = Math.min(BACK_LAST_MS, BACK_FIRST_MS + before * BACK_STEP_MS);
    // Spread, so that those that were moved back together do not come back together.
    return sharedNow() + Math.max(Math.min(waitMs, BACK_LAST_MS), back * (0.5 + Math.random() / 2));
  }
}
