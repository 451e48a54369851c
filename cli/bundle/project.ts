/** Reads offshoot.json of a function's folder and says, for each thing that is wrong, where and why. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { Manifest, manifestProblems } from '#contract/functions/manifest.ts';
import { DEFAULT_RUNTIME, kindOf, RUNTIMES } from '#contract/functions/runtimes.ts';
import { isBuildFailure } from './terms/build-error.ts';
import { textOf } from './terms/json-file.ts';
import type { Project } from './terms/build.ts';
import { builderOf } from './builder.ts';
import { CliError, messageOf } from '../terminal/errors.ts';
import { excerpt } from '../terminal/excerpt.ts';
import { shellWord } from '../terminal/text.ts';

export const MANIFEST_FILE = 'offshoot.json';

/** The function in a folder; throws an error that names every problem of its configuration. */
export async function readProject(folder: string): Promise<Project> {
  const directory = path.resolve(folder);
  const file = path.join(directory, MANIFEST_FILE);
  let text: string;
  try {
    text = textOf(readFileSync(file));
  } catch (error) {
    throw missing(directory, error);
  }
  const parsed = Manifest.safeParse(withUsualEntry(await parseManifestJson(text)));
  if (!parsed.success) {
    const problems = manifestProblems(parsed.error);
    throw new CliError('usage', `${MANIFEST_FILE} has ${count(problems.length, 'problem')}`, {
      code: 'bad_manifest',
      lines: problems,
      details: { problems },
      next: `correct ${shellWord(file)}, then: offshoot deploy`,
    });
  }
  const manifest = parsed.data;
  const entry = path.resolve(directory, manifest.entry);
  if (!statSync(entry, { throwIfNoEntry: false })?.isFile()) {
    throw new CliError('usage', `${MANIFEST_FILE} has 1 problem`, {
      code: 'bad_manifest',
      lines: [`entry: there is no file ${manifest.entry} in ${directory}`],
      next: `set "entry" in ${shellWord(file)} to your module, then: offshoot deploy`,
    });
  }
  builderOf({ manifest }).requireReady(directory);
  return { directory, manifest, entry };
}

/** A manifest that names no entry means the usual one of its runtime. */
function withUsualEntry(manifest: unknown): unknown {
  if (typeof manifest !== 'object' || manifest === null || 'entry' in manifest) return manifest;
  const named: unknown = 'runtime' in manifest ? manifest.runtime : DEFAULT_RUNTIME;
  const runtime = RUNTIMES.find((known) => known === named);
  return runtime === undefined ? manifest : { ...manifest, entry: kindOf(runtime).entry.source };
}

/** Parses the text of offshoot.json; a syntax error is shown at its line. */
export async function parseManifestJson(text: string): Promise<unknown> {
  try {
    return JSON.parse(text);
  } catch (error) {
    const { transform } = await import('esbuild');
    // JSON.parse does not always say where; esbuild's parser does.
    const failure: unknown = await transform(text, { loader: 'json', logLevel: 'silent' }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    const first = isBuildFailure(failure) ? failure.errors[0] : undefined;
    const position = first?.location && { line: first.location.line, column: first.location.column + 1 };
    const where = position ? `:${position.line}:${position.column}` : '';
    throw new CliError('usage', `${MANIFEST_FILE}${where} is not JSON: ${first?.text ?? messageOf(error)}`, {
      code: 'bad_manifest',
      lines: position ? excerpt(text, position) : [],
      next: `correct ${MANIFEST_FILE}, then: offshoot deploy`,
      cause: error,
    });
  }
}

function missing(directory: string, cause: unknown): CliError {
  if (!existsSync(directory)) {
    return new CliError('usage', `there is no folder ${directory}`, {
      code: 'no_folder',
      next: `offshoot init ${shellWord(path.basename(directory))}`,
      cause,
    });
  }
  for (let parent = path.dirname(directory); parent !== path.dirname(parent); parent = path.dirname(parent)) {
    if (existsSync(path.join(parent, MANIFEST_FILE))) {
      return new CliError('usage', `there is no ${MANIFEST_FILE} in ${directory}, but in a folder above it`, {
        code: 'no_manifest',
        next: `offshoot deploy ${shellWord(parent)}`,
        cause,
      });
    }
  }
  return new CliError('usage', `there is no ${MANIFEST_FILE} in ${directory}, so it is not a function`, {
    code: 'no_manifest',
    next: 'make a new function: offshoot init NAME',
    cause,
  });
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
