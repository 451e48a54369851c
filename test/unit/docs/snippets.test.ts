/** Readers copy code from documents: TypeScript compiles with the types of `offshoot init`, JSON is valid. */
import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Manifest, manifestProblems } from '#contract/functions/manifest.ts';
import { type Block, CHECKOUT, documents } from '../../support/docs/documents.ts';

const blocks = documents().flatMap((document) => document.blocks);
const typescript = blocks.filter(({ info }) => info === 'ts');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'offshoot-snippets-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The compiler's complaints about the snippets, each with the place in its document. */
async function complaintsOf(snippets: readonly Block[]): Promise<string[]> {
  symlinkSync(`${CHECKOUT}node_modules`, join(folder, 'node_modules'));
  const template = `${CHECKOUT}cli/templates/shared`;
  copyFileSync(`${template}/types/offshoot.d.ts`, join(folder, 'offshoot.d.ts'));
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: `${template}/tsconfig.json`,
      compilerOptions: { types: ['node'], moduleDetection: 'force' },
      include: ['*.ts'],
    }),
  );
  for (const [index, { text }] of snippets.entries())
    writeFileSync(join(folder, `snippet-${index}.ts`), text);
  const output = await new Promise<string>((resolve) => {
    const tsc = `${CHECKOUT}node_modules/typescript/bin/tsc`;
    // It fails when it complains; the complaints are on stdout.
    execFile(
      process.execPath,
      [tsc, '--noEmit', '--pretty', 'false'],
      { cwd: folder },
      (error, stdout, stderr) => resolve(error && stdout === '' ? `${error.message}\n${stderr}` : stdout),
    );
  });
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) =>
      line.replace(/^snippet-(\d+)\.ts\((\d+),\d+\)/, (_, index: string, at: string) => {
        const snippet = snippets[Number(index)];
        return `${snippet?.document}:${(snippet?.line ?? 0) + Number(at) - 1}`;
      }),
    );
}

describe('TypeScript in documents', () => {
  test('compiles with the types that functions get', async () => {
    expect(typescript.length).toBeGreaterThan(5);
    expect(await complaintsOf(typescript)).toEqual([]);
  });

  test('is refused where it is wrong, with its place', async () => {
    const text = 'export default {\n  fetch: () => 1,\n} satisfies OffshootFunction;';
    const complaints = await complaintsOf([{ document: 'docs/wrong.md', line: 10, info: 'ts', text }]);
    expect(complaints[0]).toMatch(/^docs\/wrong\.md:11: error TS2322/);
  });
});

/** The problems of a part of offshoot.json; a snippet may leave the name out. */
function problemsOf(text: string): string[] {
  const value = JSON.parse(text) as object;
  const parsed = Manifest.safeParse({ name: 'snippet', ...value });
  return parsed.success ? [] : manifestProblems(parsed.error);
}

describe('JSON in documents', () => {
  const json = blocks.filter(({ info }) => /^json\b/.test(info));
  const manifests = json.filter(({ info }) => info === 'json offshoot.json');

  test.each(json)('$document:$line is JSON', ({ text }) => {
    expect(() => JSON.parse(text) as unknown).not.toThrow();
  });

  test.each(manifests)('$document:$line is an offshoot.json', ({ text }) => {
    expect(problemsOf(text)).toEqual([]);
  });

  test('a wrong offshoot.json is refused', () => {
    expect(manifests.length).toBeGreaterThan(3);
    expect(problemsOf('{ "memory": 1 }')).toEqual([expect.stringMatching(/^memory: /)]);
    expect(problemsOf('{ "memori": 128 }')).toEqual([expect.stringContaining('did you mean "memory"?')]);
  });
});
