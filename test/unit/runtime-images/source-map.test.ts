import { readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { SourceMapReader } from '../../../runtime-images/node/bootstrap/runtime/source-map.ts';

/** Map of real code in several files, with long lines and such without a source. */
async function mapOf(minify: boolean): Promise<{ json: string; lines: string[] }> {
  const { outputFiles } = await build({
    stdin: { contents: `import { z } from 'zod'; export const x = z.string();`, resolveDir: process.cwd() },
    bundle: true,
    minify,
    format: 'esm',
    sourcemap: 'external',
    outfile: 'out.js',
    write: false,
  });
  const text = (end: string): string => outputFiles.find(({ path }) => path.endsWith(end))?.text ?? '';
  return { json: text('.map'), lines: text('.js').split('\n') };
}

test.each([false, true])(
  'positions are those that the module of Node finds (minified: %s) [OB42]',
  async (minify) => {
    const { json, lines } = await mapOf(minify);
    const reader = new SourceMapReader(json);
    const node = new SourceMap(JSON.parse(json) as SourceMapPayload);
    let compared = 0;
    // Backwards too, since a search begins at the nearest place that is known.
    const wanted = Array.from({ length: 400 }, (_, at) => Math.floor((at * 7919) % lines.length));
    for (const line of wanted)
      for (const column of [0, 3, 17, Math.floor((lines[line]?.length ?? 0) / 2), 1e6]) {
        const entry = node.findEntry(line, column);
        // Node answers with the entry of a line before where this one has none; a stack has no such position.
        if (!('originalSource' in entry) || entry.generatedLine !== line) continue;
        const { originalSource: source, originalLine, originalColumn } = entry;
        expect([line, column, reader.find(line, column)]).toEqual([
          line,
          column,
          source === undefined ? undefined : { source, line: originalLine, column: originalColumn },
        ]);
        compared++;
      }
    expect(compared).toBeGreaterThan(300);
  },
);

test('a text that is no map throws, and a position behind its end has no source', async () => {
  expect(() => new SourceMapReader('{}')).toThrow();
  expect(() => new SourceMapReader(readFileSync(import.meta.filename, 'utf8'))).toThrow();
  const { json, lines } = await mapOf(false);
  expect(new SourceMapReader(json).find(lines.length + 10, 0)).toBeUndefined();
});
