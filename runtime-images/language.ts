/** The part of a language in its images: its downloads, and its additions to the Debian base. */
import type { LanguageParts } from './image.ts';
import type { Lock } from './lock.ts';

export interface Inputs {
  readonly lock: Lock;
  /** Directory of the downloads. */
  readonly cache: string;
}

export interface BuildInputs extends Inputs {
  /** Directory of the images and their shared parts. */
  readonly images: string;
  /** Reads a file of worker/native/build/runtimes. */
  readonly native: (file: string) => Promise<Uint8Array>;
}

export interface Language {
  /** Brings the inputs of the image of this name into the cache, and checks their hashes. */
  readonly fetch: (name: string, inputs: Inputs) => Promise<void>;
  /** `keep`: directories in `images` that images of the language share; all others are reclaimed in time. */
  readonly parts: (
    name: string,
    inputs: BuildInputs,
  ) => Promise<{ readonly parts: LanguageParts; readonly keep: readonly string[] }>;
}
