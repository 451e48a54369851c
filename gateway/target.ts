/** What a call needs to know of its function, prepared once so that a call only reads it. */
import type { FunctionRecord, VersionRecord } from '#contract/api.ts';
import { keys } from '#contract/keys.ts';

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
}

/** The function and its active version, as stored. */
export interface StoredFunction {
  readonly record: FunctionRecord;
  readonly active: VersionRecord;
}

export function targetOf(namespace: string, name: string, version: VersionRecord): Target {
  return {
    namespace,
    name,
    version: version.version,
    isPublic: version.manifest.access === 'public',
    lane: keys.lane(namespace),
    runMs: (version.manifest.timeout + version.manifest.initTimeout) * 1000,
  };
}
