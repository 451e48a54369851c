/** The thread that never ends: worker threads end by themselves, also once garbage has been collected, and leave nothing. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NODE_RUNTIMES } from '../../support/runtime/node-runtimes.ts';
import { SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

/** Number of threads one after another, eight at a time. Each costs some 40 ms of processor time. */
const MANY = 120;

const THREADS = `
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { register } from 'node:module';
import { text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';
const garbage = 'let a = []; for (let i = 0; i < 40; i++) { a.push(new Array(5e4).fill({ x: i })); if (a.length > 10) a = []; }';
const run = (code = garbage, options = {}) => once(new Worker(code, { eval: true, ...options }), 'exit');
const collectHere = () => { for (let i = 0; i < 200; i++) new Array(5e4).fill({ x: i }); };
const paths = {
  '/exit': async () => (await run())[0],
  '/main': async () => { collectHere(); return (await run('1'))[0]; },
  '/stdout': async () => { const one = new Worker(garbage + 'console.log(1)', { eval: true, stdout: true }); return (await text(one.stdout)).trim(); },
  '/report': async () => { await run(); return Object.keys(process.report.getReport()).length > 5; },
  '/register': async () => {
    collectHere();
    register('data:text/javascript,export async function resolve(name, context, next) { return next(name, context); }');
    return (await import('data:text/javascript,export default "registered"')).default;
  },
  '/pool': async () => {
    const ended = await Promise.all(Array.from({ length: 6 }, () => run(garbage, { resourceLimits: { maxOldGenerationSizeMb: 32 } })));
    return ended.length;
  },
  '/many': async () => {
    for (let i = 0; i < ${MANY} / 8; i++) await Promise.all(Array.from({ length: 8 }, () => run('let a = []; for (let i = 0; i < 3; i++) a.push(new Array(5e4).fill({ x: i }))')));
    return { threads: readdirSync('/proc/self/task').length, mb: Number(/^RssAnon:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024 };
  },
};
export default { fetch: async (request) => Response.json(await paths[new URL(request.url).pathname]()) };`;

for (const runtime of NODE_RUNTIMES) {
  describe(runtime, () => {
    let bench: SandboxBench;
    let code: string;
    beforeAll(async () => {
      bench = await SandboxBench.open(runtime);
      code = await bench.addCode(THREADS);
    });
    afterAll(() => bench.close());

    test.each([
      ['/exit', 'a thread that has made garbage', 0],
      ['/main', 'a thread that has made none, after the main thread has', 0],
      ['/stdout', 'the output of a thread', '1'],
      ['/report', 'a report after such a thread', true],
      ['/register', 'a loader, which is a thread of its own', 'registered'],
      ['/pool', 'six at a time with limits of their own', 6],
    ])(`threads: %s ends on ${runtime}: %s`, async (path, _about, wanted) => {
      const one = await bench.start(code, false, { memoryMb: 256, withinMs: 20_000 });
      try {
        for (let round = 0; round < 3; round++) expect(JSON.parse((await one.call(path)).text)).toBe(wanted);
      } finally {
        await one.end();
      }
    });

    test(`threads: ${MANY} short ones in one sandbox leave no thread and no memory on ${runtime} [LM16]`, async () => {
      const one = await bench.start(code, false, { memoryMb: 256 });
      try {
        const first = JSON.parse((await one.call('/many')).text) as { threads: number; mb: number };
        const second = JSON.parse((await one.call('/many')).text) as { threads: number; mb: number };
        // The threads of libuv's pool may be there as well.
        expect(second.threads).toBeLessThan(8);
        expect(second.mb - first.mb).toBeLessThan(16);
      } finally {
        await one.end();
      }
    });
  });
}
