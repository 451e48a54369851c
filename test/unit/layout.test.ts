/** Holds the layout that ARCHITECTURE.md and CONTRIBUTING.md promise: no circle between files, few between folders, small folders. */
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/** Files that each file imports, by path from the checkout. */
type Imports = ReadonlyMap<string, ReadonlySet<string>>;

const checkout = fileURLToPath(new URL('../..', import.meta.url));
/** Folders that others fill: packages, results of builds, and the examples with sources that must not compile. */
const FOREIGN = ['node_modules', 'build', 'dist', '.git'];

/** Upper bound on the pairs of folders that import each other: each is one reading direction that a newcomer cannot rely on. */
const MAX_PAIRS = 3;
/** Upper bound on the entries of a folder that is read from top to bottom. */
const MAX_ENTRIES = 12;
/** Folders that may have more entries, because readers look up one entry. */
const LARGE: Readonly<Record<string, string>> = {
  '.': 'tools look for their files here',
  functions: 'a folder for each example',
  test: 'a folder for each suite, as package.json names them',
  'test/fuzz/corpus': 'a file for each input',
};

describe('imports', () => {
  const sources = globSync('**/*.{ts,tsx,mjs}', {
    cwd: checkout,
    exclude: (path) => /^(?:functions|cli\/templates)$|(?:^|\/)(?:node_modules|build|dist)$/.test(path),
  });
  const imports = importsOf(
    new Map(sources.map((path) => [path, readFileSync(join(checkout, path), 'utf8')])),
  );

  test('form no circle between files, types included', () => {
    // A path that is misread would leave nothing to find.
    expect(imports.get('gateway/gateway.ts')).toContain('storage/redis/redis.ts');
    expect(imports.get('gateway/main.ts')).toContain('telemetry/spans.ts');
    expect(circlesOf(imports)).toEqual([]);
  });

  test('form few circles between folders', () => {
    const pairs = pairsOf(imports);
    expect(pairs.length, pairs.join('\n')).toBeLessThanOrEqual(MAX_PAIRS);
  });

  test.each([
    ['values', "import { b } from './b.ts';"],
    ['types', "import type { B } from './b.ts';"],
    ['types inside a line', "const b: import('./b.ts').B = 1;"],
    ['what is loaded later', "await import('./b.ts');"],
    ['several lines', "import {\n  a,\n  b,\n} from './b.ts';"],
    ['what is passed on', "export * from './b.ts';"],
    ['an alias', "import '#x/b.ts';"],
  ])('a circle of %s is found', (_, text) => {
    const files = { 'x/a.ts': text, 'x/b.ts': "import './c.ts';", 'x/c.ts': "import '../x/a.ts';" };
    const found = importsOf(new Map(Object.entries(files)));
    expect(circlesOf(found)).toEqual(['x/a.ts > x/b.ts > x/c.ts > x/a.ts']);
    expect(pairsOf(found)).toEqual([]);
  });

  test('a comment imports nothing, and a pair of folders is found without a circle of files', () => {
    const files = {
      'x/a.ts': "// import './b.ts';\nimport '../y/a.ts';",
      'x/b.ts': "/** import('./a.ts') */\nimport './a.ts';",
      'y/a.ts': '',
      'y/b.ts': "import '../x/b.ts';",
    };
    const found = importsOf(new Map(Object.entries(files)));
    expect(circlesOf(found)).toEqual([]);
    expect(pairsOf(found)).toEqual(['x, y']);
  });
});

test('no folder has more entries than a newcomer reads', () => {
  const counts = countsOf('.');
  expect(counts.get('gateway/routes'), 'the folders are found').toBeGreaterThan(5);
  const large = [...counts].filter(([, count]) => count > MAX_ENTRIES).map(([folder]) => folder);
  expect(large.toSorted()).toEqual(Object.keys(LARGE).toSorted());
});

function importsOf(files: ReadonlyMap<string, string>): Imports {
  return new Map(
    [...files].map(([path, text]) => {
      const code = text.replaceAll(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '');
      const named = [...code.matchAll(/\b(?:from|import)\s*\(?\s*'([.#][^']*)'/g)].map(([, to = '']) =>
        to.startsWith('#') ? to.slice(1) : normalize(join(dirname(path), to)),
      );
      return [path, new Set(named.filter((to) => files.has(to)))];
    }),
  );
}

/** One circle from each file that closes one on a walk through all files, as `a > b > a`. */
function circlesOf(imports: Imports): string[] {
  const found: string[] = [];
  const seen = new Set<string>();
  const walk = (path: string, above: readonly string[]): void => {
    const at = above.indexOf(path);
    if (at >= 0) found.push([...above.slice(at), path].join(' > '));
    if (seen.has(path)) return;
    seen.add(path);
    for (const to of imports.get(path) ?? []) walk(to, [...above, path]);
  };
  for (const path of imports.keys()) walk(path, []);
  return found;
}

/** Folders that import each other, as `a, b`. */
function pairsOf(imports: Imports): string[] {
  const ways = new Set(
    [...imports].flatMap(([from, all]) => [...all].map((to) => `${dirname(from)}, ${dirname(to)}`)),
  );
  return [...ways].filter((way) => {
    const [from = '', to = ''] = way.split(', ');
    return from < to && ways.has(`${to}, ${from}`);
  });
}

/** Number of entries of each folder below this one. */
function countsOf(folder: string): Map<string, number> {
  const entries = readdirSync(join(checkout, folder), { withFileTypes: true }).filter(
    ({ name }) => !FOREIGN.includes(name),
  );
  const inside = entries.filter((entry) => entry.isDirectory());
  return new Map([
    [folder, entries.length],
    ...inside.flatMap(({ name }) => [...countsOf(normalize(join(folder, name)))]),
  ]);
}
