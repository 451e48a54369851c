/** Short calls are handed to a sandbox ahead of their turn. Each still runs alone, once, and not behind a slow one. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { Stopwatch } from '../../support/platform/stopwatch.ts';

const AT_ONCE = 64;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('in-line');
  // Teaches the worker that the function is quick, so that it hands calls ahead.
  await callAll(Array.from({ length: 500 }, (_, n) => `quick?n=${n}`));
}, 60_000);
afterAll(() => platform.stop());

interface Answer {
  readonly path: string;
  readonly outcome: string | null;
  readonly overlapped: boolean;
  readonly ms: number;
  readonly response: Response;
}

/** Makes the calls in order, 64 at a time. */
async function callAll(paths: readonly string[], name = 'in-line'): Promise<Answer[]> {
  const answers: Answer[] = [];
  const left = paths.values();
  const caller = async (): Promise<void> => {
    for (const path of left) {
      const start = performance.now();
      const response = await platform.call(`${name}/${path}`);
      const body = (await response.json()) as { overlapped?: boolean };
      answers.push({
        path,
        outcome: response.headers.get('x-offshoot-outcome'),
        overlapped: body.overlapped === true,
        ms: performance.now() - start,
        response,
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
  return answers;
}

async function linesOf({ response }: Answer): Promise<string[]> {
  return (await platform.record(response)).logs.map(({ text }) => text);
}

describe('calls of one function, 64 at a time', () => {
  test('calls run one at a time in each sandbox, and each exactly once [CA9]', async () => {
    const answers = await callAll(Array.from({ length: 1_000 }, (_, n) => `quick?n=${n}`));
    expect(answers.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
    expect(answers.filter(({ overlapped }) => overlapped)).toEqual([]);
    for (const answer of answers.slice(0, 200)) {
      expect(await linesOf(answer)).toEqual([`ran ${answer.path.split('=')[1]}`]);
    }
  });

  test('calls do not wait behind one that spins or sleeps', async () => {
    const slow = ['spin?ms=3000&n=s1', 'sleep?ms=3000&n=s2', 'spin?ms=3000&n=s3'];
    const paths = Array.from({ length: 600 }, (_, n) => slow[n / 100 - 1] ?? `quick?n=${n}`);
    const watch = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
    const answers = await callAll(paths);
    const late = watch.late;
    watch.stop();
    expect(answers.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
    expect(answers.filter(({ overlapped }) => overlapped)).toEqual([]);
    // Behind a slow call they would take three seconds.
    const quick = answers.filter(({ path }) => path.startsWith('quick'));
    expect(Math.max(...quick.map(({ ms }) => ms)) - late).toBeLessThan(2_000);
    for (const answer of quick.slice(90, 290)) {
      expect(await linesOf(answer)).toEqual([`ran ${answer.path.split('=')[1]}`]);
    }
  });

  test('calls behind one that exits are answered all the same', async () => {
    const paths = Array.from({ length: 600 }, (_, n) => (n % 150 === 75 ? `exit?n=${n}` : `quick?n=${n}`));
    const answers = await callAll(paths);
    for (const { path, outcome } of answers)
      expect([path, outcome]).toEqual([path, path.startsWith('exit') ? 'exited' : 'ok']);
    for (const answer of answers.slice(0, 300)) {
      expect(await linesOf(answer)).toEqual([`ran ${answer.path.split('=')[1]}`]);
    }
  });

  test('output of child processes is kept apart by call', async () => {
    const paths = Array.from({ length: 200 }, (_, n) =>
      n % 10 === 5 ? `print?text=printed${n}&n=${n}` : `quick?n=${n}`,
    );
    for (const answer of await callAll(paths)) {
      const { searchParams } = new URL(answer.path, 'http://function');
      const printed = searchParams.get('text');
      const expected = [`ran ${searchParams.get('n')}`, ...(printed === null ? [] : [printed])];
      expect(await linesOf(answer)).toEqual(expected);
    }
  });

  test('cancelled calls that were handed ahead leave the running one alone', async () => {
    const cancelled = Array.from({ length: 40 }, async (_, n) => {
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 5 + n);
      return await fetch(`${platform.url}/fn/default/in-line/sleep?ms=30&n=c${n}`, {
        signal: abort.signal,
      }).then(
        () => 'answered',
        () => 'aborted',
      );
    });
    const answers = await callAll(Array.from({ length: 400 }, (_, n) => `quick?n=${n}`));
    expect(await Promise.all(cancelled)).toContain('aborted');
    expect(answers.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
  });
});
