/** Turns what esbuild says of a failed build into an error with file, line and excerpt. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { BuildFailure, Location, Message } from 'esbuild';
import { CliError } from '../../terminal/errors.ts';
import { excerpt } from '../../terminal/excerpt.ts';
import { packageNameOf } from './package-name.ts';

/** More than this is seldom read, and the first error is often the cause of the others. */
const SHOWN_ERRORS = 5;

/** The error to show for what esbuild threw; anything that is not a build failure is given back as it is. */
export function buildError(thrown: unknown, directory: string): unknown {
  if (!isBuildFailure(thrown)) return thrown;
  const { errors } = thrown;
  const lines: string[] = [];
  for (const error of errors.slice(0, SHOWN_ERRORS)) {
    if (lines.length > 0) lines.push('');
    lines.push(...describe(error, directory));
  }
  if (errors.length > SHOWN_ERRORS) lines.push('', `and ${errors.length - SHOWN_ERRORS} more`);
  const where = errors[0]?.location ? placeOf(errors[0]) : 'the source';
  return new CliError('usage', `the function cannot be bundled: ${errors[0]?.text ?? thrown.message}`, {
    code: 'bundle_failed',
    lines,
    details: {
      errors: errors.map(({ text, location }) => ({
        text,
        ...(location && { file: location.file, line: location.line, column: location.column + 1 }),
      })),
    },
    next: ownHint(errors) ?? installHint(errors, directory) ?? `correct ${where}, then: offshoot deploy`,
    cause: thrown,
  });
}

/** The parts of esbuild's messages that are shown. Offsets count from 0, lines from 1. */
export interface Warning {
  readonly text: string;
  readonly location: Pick<Location, 'file' | 'line' | 'column'> | null;
}

/** A warning or error as lines: place and text, then the excerpt. */
export function describe(message: Warning, directory: string): string[] {
  if (!message.location) return [message.text];
  const { file, line, column } = message.location;
  const position = { line, column: column + 1 };
  let shown: string[] = [];
  try {
    shown = excerpt(readFileSync(path.resolve(directory, file), 'utf8'), position);
  } catch {
    // A virtual module, or a file that is gone: the place alone must do.
  }
  return [`${placeOf(message)}: ${message.text}`, ...shown];
}

function placeOf(message: Warning): string {
  const { location } = message;
  return location ? `${location.file}:${location.line}:${location.column + 1}` : '';
}

/** The next step that a plugin of this bundler has put into `detail`. */
function ownHint(errors: readonly Message[]): string | undefined {
  const detail: unknown = errors[0]?.detail;
  return typeof detail === 'object' && detail !== null && 'next' in detail ? String(detail.next) : undefined;
}

/** An import of a package that is not there has another remedy than an edit. */
function installHint(errors: readonly Message[], directory: string): string | undefined {
  for (const { text } of errors) {
    const file = /^No loader is configured for "[^"]*" files: (.*)$/.exec(text)?.[1];
    if (file !== undefined)
      return `add to the import of ${file}: with { type: 'text' }, then: offshoot deploy`;
    const specifier = /^Could not resolve "([^"]+)"/.exec(text)?.[1];
    const name = specifier === undefined ? undefined : packageNameOf(specifier);
    if (name !== undefined) return `(cd ${directory} && npm install ${name}) && offshoot deploy ${directory}`;
  }
  return undefined;
}

/** Also used for what `transform` throws: esbuild exports no class to test for. */
export function isBuildFailure(value: unknown): value is BuildFailure {
  return value instanceof Error && 'errors' in value && Array.isArray(value.errors);
}
