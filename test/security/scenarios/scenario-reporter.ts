/**
 * Prints one line for each test of a suite of scenarios (test/security, test/faults): its id, the attempt, the result.
 */
import type { Reporter, TestCase, TestModule } from 'vitest/node';

type Verdict = 'held' | 'NOT HELD' | 'skipped';

export default class ScenarioReporter implements Reporter {
  readonly #counts: Record<Verdict, number> = { held: 0, 'NOT HELD': 0, skipped: 0 };
  readonly #gaps: string[] = [];

  onTestCaseResult(test: TestCase): void {
    const result = test.result();
    const verdict: Verdict =
      result.state === 'passed' ? 'held' : result.state === 'failed' ? 'NOT HELD' : 'skipped';
    const [, id = '-', tried = test.name] = /^([A-Z]\d+\S*) (.*)$/s.exec(test.name) ?? [];
    // A known gap is a test that is expected to fail.
    const gap = verdict === 'held' && test.options.fails === true;
    if (gap) this.#gaps.push(id);
    else this.#counts[verdict]++;
    const note = result.state === 'skipped' ? `: ${result.note ?? 'no reason given'}` : '';
    this.#say(`${id.padEnd(5)} ${gap ? 'NOT HELD, as known' : verdict}${note}  ${tried}`);
    if (result.state !== 'failed') return;
    for (const error of result.errors) this.#say(indent(error.diff ?? error.stack ?? error.message));
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly { message: string; stack?: string }[]): void {
    let broken = errors.length;
    for (const error of errors) this.#say(indent(error.stack ?? error.message));
    // A file that could not be loaded or set up has no test that could report it.
    for (const module of modules) {
      const failures = [module, ...module.children.allSuites()].flatMap((part) => part.errors());
      broken += failures.length;
      for (const error of failures) this.#say(`${module.moduleId}\n${indent(error.stack ?? error.message)}`);
    }
    const { held, 'NOT HELD': failed, skipped } = this.#counts;
    if (this.#gaps.length > 0)
      this.#say(`${this.#gaps.length} known gaps, not counted below: ${this.#gaps.join(', ')}`);
    this.#say(`${held} passed, ${failed + broken} failed, ${skipped} skipped`);
  }

  #say(line: string): void {
    process.stdout.write(`${line}\n`);
  }
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    | ');
}
