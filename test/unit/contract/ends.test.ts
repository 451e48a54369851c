/** One table says what follows from each end; no file keeps a list of outcomes of its own. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { cancelledText, CANCELLERS } from '#contract/invocations/canceller.ts';
import { Canceller, DeadReason, Outcome } from '#contract/invocations/invocation.ts';
import {
  isFailure,
  isToldFailure,
  OUTCOME_NAMES,
  OUTCOMES,
  wasRequested,
} from '#contract/invocations/outcome.ts';
import { SANDBOX_ENDS } from '#contract/platform/sandbox-end.ts';
import { withOutcomes } from '../../../infra/monitoring/alert-outcomes.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));
const read = (path: string): string => readFileSync(`${checkout}/${path}`, 'utf8');
const sources = globSync(
  '{gateway,worker,storage,telemetry,contract,cli,dashboard,runtime-images/node/bootstrap}/**/*.{ts,tsx}',
  {
    cwd: checkout,
  },
).filter((path) => path !== 'contract/invocations/outcome.ts');

/** Names that mean other things too: a level of a log, a setting, a state of a health check or of a batch. */
const AMBIGUOUS = new Set<string>(['ok', 'error', 'timeout', 'cancelled']);
const quoted = (names: readonly string[]): string => `['"\`](?:${names.join('|')})['"\`]`;

/** Files that decide an outcome from the facts of a run, and so tell some of them apart. */
const DECIDE = ['worker/sandbox/zygote/exit-cause.ts', 'worker/pool/start-function.ts'];

/** Code without its comments. */
function codeOf(path: string): string {
  return read(path)
    .replaceAll(/\/\*[\s\S]*?\*\//g, '')
    .replaceAll(/^\s*\/\/.*$/gm, '');
}

describe('no list of outcomes stands beside the table', () => {
  const any = quoted(OUTCOME_NAMES);
  const sure = quoted(OUTCOME_NAMES.filter((outcome) => !AMBIGUOUS.has(outcome)));
  const list = new RegExp(`${any}[,\\s|]+(?:${sure})|${sure}[,\\s|]+(?:${any})`);
  const branch = new RegExp(`[!=]== ${sure}|case ${sure}|has\\(${sure}|${sure} [!=]==`);

  test.each([
    ["new Set(['crashed', 'exited'])", true],
    ["type Reason = 'timeout' | 'cpu_limit'", true],
    ["if (outcome === 'expired')", true],
    ["case 'worker_lost':", true],
    ["['debug', 'info', 'error']", false],
    ["fail(call, { outcome: 'worker_lost', message })", false],
  ])('the check finds a list or a branch, and no other use: %s', (code, found) => {
    expect(list.test(code) || branch.test(code)).toBe(found);
  });

  test('in no source', () => {
    const found = sources
      .filter((path) => !DECIDE.includes(path))
      .flatMap((path) =>
        codeOf(path)
          .split('\n')
          .flatMap((line) => (list.test(line) || branch.test(line) ? [`${path}: ${line.trim()}`] : [])),
      );
    // A reason of the worker's metrics, which no outcome follows from; and a remedy with the line of the source.
    expect(
      found.filter((line) => !/sandbox\.end === 'out_of_memory'|=== 'load_error' \? `correct/.test(line)),
    ).toEqual([]);
  });
});

describe('each end is decided somewhere', () => {
  // The runtime in the sandbox decides those of the column "told".
  const told = globSync('runtime-images/**/*.ts', { cwd: checkout });
  const code = [...sources, ...told].map(codeOf).join('\n');

  test.each(OUTCOME_NAMES)('the outcome %s', (outcome) => {
    expect(code).toContain(`'${outcome}'`);
  });

  test.each(Object.keys(SANDBOX_ENDS))('the end of a sandbox as %s', (reason) => {
    expect(code).toMatch(
      new RegExp(`(?:kill|makeRoom|evict)\\([^)]*'${reason}'|'${reason}'\\s*:|: '${reason}'\\)`),
    );
  });

  test.each(Object.keys(CANCELLERS))('the canceller %s', (by) => {
    expect(code).toContain(`by: '${by}'`);
  });

  test('docs/design/sandbox.md has each end of a sandbox', () => {
    const page = read('docs/design/sandbox.md');
    const ends = [...Object.keys(SANDBOX_ENDS), ...OUTCOME_NAMES.filter((one) => 'stop' in OUTCOMES[one])];
    expect(ends.filter((end) => !page.includes(`\`${end}\``))).toEqual([]);
  });
});

describe('the columns fit one another', () => {
  test.each(OUTCOME_NAMES)('%s', (outcome) => {
    const facts: (typeof OUTCOMES)[Outcome] & { readonly stop?: string } = OUTCOMES[outcome];
    // A stop kills the sandbox.
    if (facts.stop !== undefined) expect(facts.sandbox).toBe('ended');
    // An invocation that takes its sandbox or worker along is tried again, until it is poison.
    if (facts.poison) expect(facts.queued).toBe('retry');
    expect(facts.alert === 'platform').toBe(facts.fault === 'system');
    expect(facts.alert === 'none').toBe(!isFailure(outcome) || wasRequested(outcome));
  });

  test('a sandbox may report only what its row allows', () => {
    expect(OUTCOME_NAMES.filter(isToldFailure)).toEqual([
      'error',
      'bad_response',
      'no_handler',
      'ended_by_another',
    ]);
    for (const sent of ['timeout', 'ok', 'constructor', '', undefined, 1, {}])
      expect(isToldFailure(sent)).toBe(false);
  });

  test('the schemas have the members of the tables', () => {
    expect(Outcome.options).toEqual(OUTCOME_NAMES);
    expect(DeadReason.options).toContain('poison');
    expect(Canceller.shape.by.options).toEqual(Object.keys(CANCELLERS));
  });
});

test('alerts.yml counts the outcomes of the column "alert"', () => {
  const alerts = read('infra/monitoring/alerts.yml');
  expect(withOutcomes(alerts), 'run: node infra/monitoring/alert-outcomes.ts').toBe(alerts);
  // Both matchers are there to be compared.
  expect(alerts.match(/outcome[=!]~"/g)).toHaveLength(2);
});

test.each([
  [{ by: 'caller' }, 'by its caller, who closed the connection'],
  [{ by: 'key', key: 'k1' }, 'by the API key k1'],
  [{ by: 'key' }, 'by the API key'],
  [{ by: 'batch', key: 'k1' }, 'with its batch, by the API key k1'],
  [{ by: 'shutdown' }, 'by the stop of the gateway that waited for it'],
] as const)('a canceller in words: %j', (by, words) => {
  expect(cancelledText(by)).toBe(words);
});
