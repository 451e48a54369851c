/** The records of a function in Redis: one of the function, and one of each version. storage/functions/ reads and writes them. */
import { z } from 'zod';
import { Name } from './names.ts';
import { FunctionSettings, VersionSettings } from './settings.ts';

export const Digest = z.string().regex(/^[0-9a-f]{64}$/, 'a sha256 in lower-case hexadecimal');

/** Strict, because a change rewrites the whole record: a process that does not know a field must not drop it. */
export const FunctionRecord = z.strictObject({
  namespace: Name,
  name: Name,
  /** The settings of the latest deploy; they hold for calls to every version. */
  settings: FunctionSettings,
  /** The version that calls go to. */
  activeVersion: z.int().min(1),
  /** Unix times in milliseconds. */
  createdAt: z.number(),
  updatedAt: z.number(),
});
export type FunctionRecord = z.infer<typeof FunctionRecord>;

/** A version never changes. */
export const VersionRecord = z.object({
  version: z.int().min(1),
  /** sha256 of the archive. */
  digest: Digest,
  settings: VersionSettings,
  /** File in the archive that is loaded. */
  entryFile: z.string(),
  createdAt: z.number(),
  archiveBytes: z.number(),
});
export type VersionRecord = z.infer<typeof VersionRecord>;

/** The versions that a record itself leads callers to. They stay for as long as it does. */
export function reachableVersions({ activeVersion }: FunctionRecord): readonly number[] {
  return [activeVersion];
}
