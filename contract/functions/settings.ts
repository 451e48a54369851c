/**
 * The settings of offshoot.json in two parts: those of a function and those of a version. A function's settings hold for calls to every version of it, so its
 * record has them once. A version's settings are as unchanging as its code. docs/decisions/functions.md decides each of them.
 */
import { z } from 'zod';
import { EnvName, Manifest } from './manifest.ts';

// `$schema` is for editors, and `name` is the function itself: neither is a setting.
const {
  $schema: _schema,
  name: _name,
  access,
  maxConcurrency,
  rateLimit,
  retries,
  queueTime,
  schedule,
  ...ofVersion
} = Manifest.shape;

export const FunctionSettings = z.strictObject({
  access,
  maxConcurrency,
  rateLimit,
  retries,
  queueTime,
  schedule,
});
export type FunctionSettings = z.infer<typeof FunctionSettings>;

export const VersionSettings = z.strictObject(ofVersion);
export type VersionSettings = z.infer<typeof VersionSettings>;

/** A version's settings as the API shows them: only the names of variables, since the values may be secrets. */
export const ShownSettings = z.strictObject({ ...ofVersion, env: z.array(EnvName) });
export type ShownSettings = z.infer<typeof ShownSettings>;

/** A version's settings without the values of its variables. */
export function shownSettings(settings: VersionSettings): ShownSettings {
  return { ...settings, env: Object.keys(settings.env) };
}

/** The two parts of a manifest, which a deploy writes. */
export function partsOf(manifest: Manifest): { ofFunction: FunctionSettings; ofVersion: VersionSettings } {
  return {
    ofFunction: FunctionSettings.strip().parse(manifest),
    ofVersion: VersionSettings.strip().parse(manifest),
  };
}
