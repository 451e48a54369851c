/** Prints one line for each test, for infra/test/vm.sh, which counts them: `D3 mem-bomb-js: held`. */
import type { Reporter, SerializedError, TestCase, TestModule } from 'vitest/node';

export default class LineReporter implements Reporter {
  onTestCaseResult(test: TestCase): void {
    const result = test.result();
    if (result.state === 'skipped') {
      // Without a reason, the filter of the caller left it out.
      if (result.note) say(`${test.fullName}: skipped (${result.note})`);
      return;
    }
    for (const error of result.state === 'failed' ? result.errors : []) say(indent(error));
    const seconds = ((test.diagnostic()?.duration ?? 0) / 1000).toFixed(1);
    say(`${test.fullName} (${seconds} s): ${result.state === 'passed' ? 'held' : 'FAILED'}`);
  }

  /** Errors outside of any test: a module that cannot be loaded, a hook, a promise that was not awaited. */
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    for (const module of modules) {
      for (const error of module.errors()) say(`${indent(error)}\n${module.relativeModuleId}: FAILED`);
    }
    for (const error of unhandled) say(`${indent(error)}\nan error outside of any test: FAILED`);
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function indent(error: { readonly message: string; readonly stack?: string | undefined }): string {
  return (error.stack ?? error.message).replaceAll(/^/gm, '  | ');
}
