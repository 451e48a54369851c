/** The facts of a function that a call needs, prepared once so that a call only reads them. */
import type { FunctionRecord, VersionRecord } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import {
  DEFAULT_QUEUE_TIME_S,
  DEFAULT_REQUEST_MB,
  DEFAULT_RETRIES,
  type Retries,
} from '#contract/functions/manifest.ts';
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

/** The function and its active version, as stored. */
export interface StoredFunction {
  readonly record: FunctionRecord;
  readonly active: VersionRecord;
}

export function targetOf(
  namespace: string,
  name: string,
  version: VersionRecord,
  limits?: NamespaceLimits,
): Target {
  return {
    namespace,
    name,
    version: version.version,
    isPublic: version.manifest.access === 'public',
    lane: keys.lane(namespace),
    runMs: (version.manifest.timeout + version.manifest.initTimeout) * 1000,
    // Versions that were deployed before these settings existed do not have them.
    requestMb: version.manifest.requestSize ?? DEFAULT_REQUEST_MB,
    retries: version.manifest.retries ?? DEFAULT_RETRIES,
    batchSize: version.manifest.batch?.size,
    queueMs: (version.manifest.queueTime ?? DEFAULT_QUEUE_TIME_S) * 1000,
    quota: quotaOf(version.manifest, limits),
  };
}
