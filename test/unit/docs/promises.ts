/**
 * Compares SPECIFICATION.md with the titles of tests, as text: no test runs. The head of SPECIFICATION.md explains the ids.
 */

/** One row of a table of promises. */
interface Row {
  /** More than one where a row says `A1 to A3`. */
  readonly ids: readonly string[];
  readonly tests: readonly { readonly file: string; readonly scenarios: readonly string[] }[];
}

/** The ids that the titles of one test file bear. */
interface Titles {
  /** In brackets at the end: `… [CA5, SH9]`. */
  readonly promises: ReadonlySet<string>;
  /** At the head: `Q1 worker-kill: …`. */
  readonly scenarios: ReadonlySet<string>;
}

const SCENARIO = /[A-Z]\d+[a-z]?/;
const PROMISE = /[A-Z]{2}\d+/;
const NO_TITLES: Titles = { promises: new Set(), scenarios: new Set() };

/**
 * Faults of the specification, one sentence each.
 *
 * @param files Text by path below `test/`: all test files, and the scenario tables that they import.
 */
export function faultsOf(specification: string, files: ReadonlyMap<string, string>): string[] {
  const rows = rowsOf(specification);
  const titles = new Map(
    [...files].map(([path, text]) => {
      const found = titlesOf(text, files);
      // The titles of these begin with the kind of foreign code, which is no scenario.
      return [path, path.startsWith('real/') ? { ...found, scenarios: NO_TITLES.scenarios } : found];
    }),
  );
  return [
    ...twice(rows.flatMap(({ ids }) => ids)).map((id) => `${id} is defined twice`),
    ...rows.flatMap((row) => faultsOfRow(row, files, titles)),
    ...faultsOfTitles(rows, titles),
  ];
}

function faultsOfRow(
  { ids, tests }: Row,
  files: ReadonlyMap<string, string>,
  titles: ReadonlyMap<string, Titles>,
): string[] {
  const found = tests.map(({ file }) => titles.get(file) ?? NO_TITLES);
  return [
    ...tests.flatMap(({ file }) =>
      files.has(file) ? [] : [`${ids[0]} names ${file}, which does not exist`],
    ),
    ...ids.flatMap((id) =>
      found.some(({ promises, scenarios }) => promises.has(id) || scenarios.has(id))
        ? []
        : [`${id} stands in no title of the tests that it names`],
    ),
    ...tests.flatMap(({ file, scenarios }) =>
      scenarios
        .filter((id) => titles.get(file)?.scenarios.has(id) !== true)
        .map((id) => `${ids[0]} names the scenario ${id} of ${file}, which has none`),
    ),
  ];
}

/** Ids in titles for which the specification has no row that names their file. */
function faultsOfTitles(rows: readonly Row[], titles: ReadonlyMap<string, Titles>): string[] {
  const expected = new Set(
    rows.flatMap(({ ids, tests }) =>
      tests.flatMap(({ file, scenarios }) => [...ids, ...scenarios].map((id) => `${id} ${file}`)),
    ),
  );
  return [...titles].flatMap(([file, { promises, scenarios }]) =>
    file.endsWith('.test.ts')
      ? [...promises, ...scenarios]
          .filter((id) => !expected.has(`${id} ${file}`))
          .map((id) => `${id} stands in a title of ${file}, but no promise names it there`)
      : [],
  );
}

function rowsOf(specification: string): Row[] {
  return specification.split('\n').flatMap((line) => {
    const cells = /^\| ([A-Z]+\d.*?) \| .* \| (.*?) \|$/.exec(line);
    return cells === null ? [] : [{ ids: idsIn(cells[1] ?? ''), tests: testsIn(cells[2] ?? '') }];
  });
}

/** Files of the test column, each with the scenarios that stand between it and the next file. */
function testsIn(column: string): { file: string; scenarios: string[] }[] {
  const [before = '', ...parts] = column.split(
    /`((?:unit|integration|real|security|faults|slow|browser|s3|vm)\/[^`]+)`/,
  );
  const tests: { file: string; scenarios: string[] }[] = [];
  // A control may be named before its file: "control K1 of `security/escape/controls.test.ts`".
  let ahead = controlsIn(before);
  for (let index = 0; index < parts.length; index += 2) {
    const [file = '', text = ''] = parts.slice(index, index + 2);
    const next = controlsIn(text);
    tests.push({ file, scenarios: [...ahead, ...idsIn(text).filter((id) => !next.includes(id))] });
    ahead = next;
  }
  return tests;
}

function controlsIn(text: string): string[] {
  return idsIn(/controls? ([^;]*) of $/.exec(text)?.[1] ?? '');
}

/** `Q1 to Q4, Q9` is Q1, Q2, Q3, Q4 and Q9. */
function idsIn(text: string): string[] {
  return [...text.matchAll(/\b([A-Z]{1,2})(\d+)([a-z]?)\b(?: to \1(\d+)\b)?/g)].flatMap(
    ([, letters = '', from = '', suffix = '', to = from]) =>
      Array.from({ length: Number(to) - Number(from) + 1 }, (_, index) =>
        index === 0 ? `${letters}${from}${suffix}` : `${letters}${Number(from) + index}`,
      ),
  );
}

/** The ids in string literals; those of a scenario table count for each file that makes tests of it. */
function titlesOf(text: string, files: ReadonlyMap<string, string>): Titles {
  const promises = new RegExp(` \\[(${PROMISE.source}(?:, ${PROMISE.source})*)\\]['"\`]`, 'g');
  const heads = new RegExp(`[\\s([]['"\`](${SCENARIO.source}) (?=\\S)`, 'g');
  const rows = new RegExp(`^ {2}(${SCENARIO.source}): \\{$`, 'gm');
  const tables = /\bscenarioTests\(/.test(text)
    ? [...text.matchAll(/'\.\.\/(scenarios\/\w+\.ts)'/g)].map(
        ([, path]) => files.get(`security/${path}`) ?? '',
      )
    : [];
  return {
    promises: new Set([...text.matchAll(promises)].flatMap(([, ids = '']) => ids.split(', '))),
    scenarios: new Set([
      ...[...text.matchAll(heads)].map(([, id = '']) => id),
      ...tables.flatMap((table) => [...table.matchAll(rows)].map(([, id = '']) => id)),
    ]),
  };
}

function twice(ids: readonly string[]): string[] {
  return ids.filter((id, index) => ids.indexOf(id) !== index);
}
