/**
 * The seam between the CLI and the languages of functions. A builder makes out of a function's folder the files of its archive; all
 * else of a deployment is the same for every language.
 */
import { languageOf, type Language } from '#contract/functions/runtimes.ts';
import type { BuilderKind, Project } from './terms/build.ts';
import { framesOf } from './terms/frames.ts';
import { requireInstalled } from './packages/packages.ts';

export const BUILDERS: Readonly<Record<Language, BuilderKind>> = {
  node: {
    requireReady: requireInstalled,
    // Loaded only here, since most verbs never build.
    open: async (project) => (await import('./bundle.ts')).Bundler.create(project),
    framesOf,
  },
};

export function builderOf({ manifest }: Pick<Project, 'manifest'>): BuilderKind {
  return BUILDERS[languageOf(manifest.runtime)];
}
