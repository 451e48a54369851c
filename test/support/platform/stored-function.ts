/** Functions in Redis without a deploy, so that a test needs neither an archive nor a worker. */
import type { z } from 'zod';
import { Manifest } from '#contract/functions/manifest.ts';
import { partsOf } from '#contract/functions/settings.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';

/** Stores a version as a deploy of this manifest would, and makes it the active one. Resolves to its number. */
export async function storeFunction(
  functions: FunctionRepository,
  manifest: z.input<typeof Manifest>,
  { namespace = 'default', digest = '0'.repeat(64), underWayMs = 0 } = {},
): Promise<number> {
  const { name } = manifest;
  const { ofFunction, ofVersion } = partsOf(Manifest.parse(manifest));
  await functions.addNamespace(namespace);
  const { version } = await functions.addVersion(namespace, name, {
    digest,
    settings: ofVersion,
    entryFile: 'index.mjs',
    createdAt: Date.now(),
    archiveBytes: 1,
  });
  await functions.deployed(namespace, name, version, ofFunction, underWayMs);
  return version;
}
