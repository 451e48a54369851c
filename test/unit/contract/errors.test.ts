/** The catalogues of errors and outcomes, compared as text with the sources, the tests and the page about them. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ERRORS, OffshootError } from '#contract/api/errors.ts';
import { nextWith } from '#contract/invocations/next.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { errorsPage } from '../../../infra/generate/errors.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));

/** Text by path, but not that of this file. */
function texts(pattern: string): Map<string, string> {
  const paths = globSync(pattern, { cwd: checkout }).filter((path) => !import.meta.url.endsWith(path));
  return new Map(paths.map((path) => [path, readFileSync(`${checkout}/${path}`, 'utf8')]));
}

const joined = (pattern: string): string => [...texts(pattern).values()].join('\n');

test('docs/errors.md is what the catalogues say', () => {
  const page = readFileSync(`${checkout}/docs/errors.md`, 'utf8');
  expect(page, 'run: node infra/generate/errors.ts').toBe(errorsPage());
});

describe('each code', () => {
  const sources = joined('{gateway,worker,storage}/**/*.ts');
  const tests = joined('test/{unit,integration,security,faults,slow,browser,s3,vm}/**/*.ts');

  test.each(Object.keys(ERRORS))('%s is thrown somewhere', (code) => {
    expect(sources.includes(`'${code}'`)).toBe(true);
  });

  test.each([...Object.keys(ERRORS), ...Object.keys(OUTCOMES)])('%s is met by some test', (code) => {
    expect(new RegExp(`['"]${code}['"]`).test(tests)).toBe(true);
  });
});

describe('the id in "next"', () => {
  test('stands in place of each word ID, and of no part of a word', () => {
    expect(nextWith('trace ID; then: dlq redrive ID, not IDs', 'abc')).toBe(
      'trace abc; then: dlq redrive abc, not IDs',
    );
    expect(nextWith('trace ID', undefined)).toBe('trace ID');
  });

  test('is that of the error, or else that of the call that it ended', () => {
    const next = (error: OffshootError, id?: string): string => error.toBody(id).error.next;
    expect(next(new OffshootError('not_ended', 'it runs', { id: 'abc' }))).toContain('offshoot trace abc');
    expect(next(new OffshootError('not_ended', 'it runs'), 'def')).toContain('offshoot trace def');
  });
});

test('names that several processes know stand in contract/ only', () => {
  const literals = /'x-offshoot-[a-z-]+'|[`'"]\/fn\/|'node2[46]'/;
  const found = [...texts('{gateway,worker,cli,dashboard,storage,telemetry,infra}/**/*.{ts,tsx}')].flatMap(
    ([path, text]) =>
      text
        .split('\n')
        .flatMap((line, at) =>
          literals.test(line) && !/^\s*\/?\*/.test(line) ? [`${path}:${at + 1}: ${line.trim()}`] : [],
        ),
  );
  expect(found).toEqual([
    // Levels of JavaScript that esbuild writes, not names of runtimes.
    expect.stringContaining('cli/bundle/units.ts'),
  ]);
});
