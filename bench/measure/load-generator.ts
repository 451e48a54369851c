/**
 * Load by autocannon with connections that are kept. Usage: node load-generator.ts URL EFFORT-AS-JSON
 * Its own summary has whole milliseconds only, so the time of each answer is taken from its events.
 */
import autocannon from 'autocannon';
import { report } from './children.ts';
import type { Effort, LoadResult } from './http-load.ts';
import { loadResult } from './load-result.ts';

const [url = '', text = '{}'] = process.argv.slice(2);

async function load(effort: Effort): Promise<LoadResult> {
  const times: number[] = [];
  let refused = 0;
  const start = performance.now();
  let last = start;
  await new Promise<void>((resolve, reject) => {
    const options =
      'calls' in effort
        ? { connections: 1, amount: effort.calls }
        : { connections: effort.atOnce, duration: effort.seconds };
    const instance = autocannon({ url, ...options }, (error, result) => {
      if (error) reject(error instanceof Error ? error : new Error(String(error)));
      else if (result.errors > 0) reject(new Error(`${result.errors} calls of ${url} failed`));
      else resolve();
    });
    instance.on('response', (_client, status, _bytes, ms) => {
      if (status !== 200) refused++;
      times.push(ms);
      last = performance.now();
    });
  });
  if (refused > 0) throw new Error(`${refused} of ${times.length} calls were not answered with 200`);
  return loadResult(times, last - start, effort);
}

await report(() => load(JSON.parse(text) as Effort));
