/**
 * Takes quota leases for calls whose function or namespace is limited. A call over a limit is refused at once, with a
 * Retry-After: waiting calls would hold memory and connections for callers over their limit. A caller that prefers to wait can
 * use the queued lane.
 */
import { OffshootError } from '#contract/api/errors.ts';
import { drainSeconds, retrySeconds } from '#contract/platform/pace.ts';
import type { Quota } from '#contract/functions/quota.ts';
import type { QuotaLease, QuotaLeases, Refusal } from '#storage/limits/quota-leases.ts';
import type { Target } from '../dispatch/target.ts';

export class Admission {
  readonly #leases: QuotaLeases;

  constructor(leases: QuotaLeases) {
    this.#leases = leases;
  }

  /** Throws `concurrency_limited` or `rate_limited`, or the error of Redis when it is unavailable. */
  async enter({ namespace, name }: Target, quota: Quota, id: string): Promise<QuotaLease> {
    const taken = await this.#leases.take(namespace, name, quota, id);
    if ('refused' in taken) throw refusalError(namespace, name, quota, taken.refused);
    return taken;
  }
}

function refusalError(namespace: string, name: string, quota: Quota, refusal: Refusal): OffshootError {
  const allowance = quota[refusal.of];
  const ofFunction = refusal.of === 'function';
  const whose = ofFunction ? `the function "${namespace}/${name}"` : `the namespace "${namespace}"`;
  if (refusal.limit === 'rateLimit') {
    const { rate } = allowance.rateLimit ?? { rate: 0 };
    const waitMs = refusal.waitMs ?? 0;
    const setting = ofFunction ? '"rateLimit" in offshoot.json' : 'offshoot limits set --rate';
    return new OffshootError(
      'rate_limited',
      `${whose} may begin ${rate} invocations a second (${setting}); the next one may in ${Math.ceil(waitMs)} ms`,
      {
        retryAfterS: retrySeconds(waitMs / 1000),
        details: { of: refusal.of, rate, waitMs: Math.ceil(waitMs) },
      },
    );
  }
  const { running = 0, endedPerSecond = 0 } = refusal;
  const limit = allowance.concurrency ?? running;
  const setting = ofFunction ? '"maxConcurrency" in offshoot.json' : 'offshoot limits set --concurrency';
  return new OffshootError(
    'concurrency_limited',
    `${whose} has ${running} invocations running, and may have ${limit} (${setting})`,
    {
      retryAfterS: drainSeconds({ waiting: running, endedPerSecond }),
      details: { of: refusal.of, limit, running, endedPerSecond },
    },
  );
}
