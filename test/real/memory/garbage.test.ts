/** K7: a sandbox collects its garbage before the kernel ends it, whatever kind of garbage it is. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

let bench: SandboxBench;
beforeAll(async () => {
  bench = await SandboxBench.open();
});
afterAll(() => bench.close());

/**
 * Code of a handler that makes about MB megabytes of garbage, of which HELD megabytes live at the same time for a while. LIVE
 * megabytes of the module's own live all the time.
 */
const KINDS: Readonly<Record<string, string>> = {
  objects: `let held = [];
    for (let i = 0; i < MB * 8000; i++) { held.push({ id: i, name: 'n', price: i / 7, tags: ['a'] }); if (held.length > HELD * 6000) held = []; }`,
  strings: `let held = [];
    for (let i = 0; i < MB * 90; i++) { held.push(('<tr>' + i + '</tr>').repeat(1000) + i); JSON.stringify(held.at(-1)); if (held.length > HELD * 60) held = []; }`,
  JSON: `const text = JSON.stringify(Array.from({ length: HELD * 1200 }, (_, i) => ({ id: i, name: 'name ' + i, price: i / 7, tags: ['a', 'b', String(i)] })));
    for (let i = 0; i < 4; i++) JSON.parse(text).map((r) => ({ ...r, total: r.price * 1.19 })).map((r) => '<tr><td>' + r.id + '</td></tr>').join('');`,
  buffers: `let held = [];
    for (let i = 0; i < MB * 16; i++) { held.push(Buffer.alloc(64 * 1024, i)); if (held.length > HELD * 16) held = []; }`,
  promises: `let held = [];
    for (let i = 0; i < MB * 3000; i++) { held.push(new Promise((done) => setImmediate(done, { i, list: [i] }))); if (held.length > HELD * 2000) { await Promise.all(held); held = []; } }`,
};

const CALLS = 50;

function sourceOf(code: string, memoryMb: number): string {
  return `
import v8 from 'node:v8';
const MB = ${memoryMb / 8}, HELD = ${memoryMb / 16}, LIVE = ${memoryMb / 4};
const used = () => v8.getHeapStatistics().used_heap_size / 2 ** 20;
export const live = [];
for (const before = used(); used() - before < LIVE; ) for (let i = 0; i < 1000; i++) live.push({ i, text: 'x' + i });
export default { fetch: async () => { ${code} return new Response('done'); } };`;
}

describe('K7 B43 no out_of_memory while at most a third is live, in 50 calls', () => {
  for (const [kind, code] of Object.entries(KINDS)) {
    for (const memoryMb of [64, 128, 256, 512]) {
      test(`K7 B43 garbage of ${kind} at ${memoryMb} MB`, async () => {
        const one = await bench.start(await bench.addCode(sourceOf(code, memoryMb)), false, { memoryMb });
        try {
          let calls = 0;
          while (calls < CALLS && (await one.call()).text === 'done') calls++;
          expect({ calls, ...one.sandbox.usage.now }).toMatchObject({ calls: CALLS, oomKills: 0 });
        } finally {
          await one.end();
        }
      });
    }
  }
});

test('K7 B43 the everyday form: 3 MB of JSON become HTML, 30 times, at the default memory [LM14]', async () => {
  const one = await bench.start(
    await bench.addCode(`
const text = JSON.stringify(Array.from({ length: 40_000 }, (_, i) => ({ id: i, name: 'name ' + i, price: i / 7, tags: ['a', 'b', String(i)] })));
export default { fetch: () => { const out = JSON.parse(text).map((r) => ({ ...r, total: r.price * 1.19 }));
  return new Response(String(out.map((r) => \`<tr><td>\${r.id}</td><td>\${r.name}</td><td>\${r.total}</td></tr>\`).join('').length > 1e6)); } };`),
  );
  try {
    for (let call = 0; call < 30; call++) expect((await one.call()).text).toBe('true');
    expect(one.sandbox.usage.now.oomKills).toBe(0);
  } finally {
    await one.end();
  }
});

test('K7 B43 a loop of three million small objects, of which few live, at 64, 128 and 256 MB', async () => {
  const code = await bench.addCode(
    `export default { fetch: () => { let kept = []; for (let i = 0; i < 3e6; i++) { kept.push({ i, v: String(i) }); if (kept.length > 1e5) kept = []; } return new Response('done'); } };`,
  );
  for (const memoryMb of [64, 128, 256]) {
    const one = await bench.start(code, false, { memoryMb });
    try {
      for (let call = 0; call < 6; call++) expect((await one.call()).text, `${memoryMb} MB`).toBe('done');
      expect(one.sandbox.usage.now.oomKills).toBe(0);
    } finally {
      await one.end();
    }
  }
});

const LIMITS = `
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import v8 from 'node:v8';
const inThread = \`const v8 = require('node:v8'); const { parentPort } = require('node:worker_threads');
  parentPort.postMessage([v8.getHeapStatistics().heap_size_limit, process.constrainedMemory()].map((n) => n / 2 ** 20));\`;
export default { fetch: async () => {
  const [thread] = await once(new Worker(inThread, { eval: true }), 'message');
  const [small] = await once(new Worker(inThread, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 16 } }), 'message');
  return Response.json({ main: v8.getHeapStatistics().heap_size_limit / 2 ** 20, thread, small });
} };`;

test('K7 V8 names the limit of the function as its own, in worker threads too, and a lower one of their own stays [LM15]', async () => {
  const code = await bench.addCode(LIMITS);
  for (const memoryMb of [128, 256, 1024, 6144]) {
    const one = await bench.start(code, false, { memoryMb });
    try {
      const { main, thread, small } = JSON.parse((await one.call()).text) as {
        main: number;
        thread: [number, number];
        small: [number, number];
      };
      expect(main).toBeCloseTo(memoryMb, 0);
      expect(thread[0]).toBeLessThan(memoryMb);
      expect(thread[0]).toBeGreaterThan(memoryMb / 3);
      expect(thread[1]).toBe(memoryMb);
      expect(small[0]).toBeLessThan(thread[0]);
    } finally {
      await one.end();
    }
  }
});
