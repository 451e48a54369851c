/** What a call needs to know of its function, prepared once so that a call only reads it. */
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
  /** Redis list that its calls go to. */
  readonly lane: string;
  /** Milliseconds that a run may take, the loading of its module included. */
  readonly runMs: number;
  /** MB that a request body may have. */
  readonly requestMb: number;
  /** Of its invocations in the queued lane. */
  readonly retries: Retries;
  /** Milliseconds that they may wait. */
  readonly queueMs: number;
  /** Items that `queue()` is given at once. */
  readonly batchSize: number | undefined;
  /** What is counted before a call begins; undefined where nothing is, which then costs nothing. */
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
    // Versions that were deployed before there were these settings have none.
    requestMb: version.manifest.requestSize ?? DEFAULT_REQUEST_MB,
    retries: version.manifest.retries ?? DEFAULT_RETRIES,
    batchSize: version.manifest.batch?.size,
    queueMs: (version.manifest.queueTime ?? DEFAULT_QUEUE_TIME_S) * 1000,
    quota: quotaOf(version.manifest, limits),
  };
}
