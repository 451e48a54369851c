/** The facts of a function that a call needs, prepared once so that a call only reads them. */
import { keys } from '#contract/platform/keys.ts';
import type { Retries } from '#contract/functions/manifest.ts';
import type { FunctionRecord, VersionRecord } from '#contract/functions/records.ts';
import { quotaOf, type NamespaceLimits, type Quota } from '#contract/functions/quota.ts';

export interface Target {
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  /** May be called without a key. */
  readonly isPublic: boolean;
  /** Redis list for its calls. */
  readonly lane: string;
  /** Time limit of a run in milliseconds, the loading of its module included. */
  readonly runMs: number;
  /** Upper bound on a request body, in MB. */
  readonly requestMb: number;
  /** Retries of its invocations in the queued lane. */
  readonly retries: Retries;
  /** Time limit in milliseconds for the wait of its queued invocations. */
  readonly queueMs: number;
  /** Upper bound on the items that `queue()` gets in one call. */
  readonly batchSize: number | undefined;
  /** Limits that are checked before a call begins; undefined without limits, so that such a call costs nothing. */
  readonly quota: Quota | undefined;
}

/** A version of a function as a call meets it. The settings of the function are the same for each of its versions. */
export function targetOf(
  { namespace, name, settings }: Pick<FunctionRecord, 'namespace' | 'name' | 'settings'>,
  version: Pick<VersionRecord, 'version' | 'settings'>,
  limits?: NamespaceLimits,
): Target {
  const { timeout, initTimeout, requestSize, batch } = version.settings;
  return {
    namespace,
    name,
    version: version.version,
    isPublic: settings.access === 'public',
    lane: keys.lane(namespace),
    runMs: (timeout + initTimeout) * 1000,
    requestMb: requestSize,
    retries: settings.retries,
    batchSize: batch?.size,
    queueMs: settings.queueTime * 1000,
    quota: quotaOf(settings, limits),
  };
}
