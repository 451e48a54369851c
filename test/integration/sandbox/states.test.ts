/** The states of a sandbox, from its fork to its end, in a real one. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

let bench: SandboxBench;
let code: string;
beforeAll(async () => {
  bench = await SandboxBench.open();
  code = await bench.addCode('export default { fetch: () => new Response("ok") }');
}, 30_000);
afterAll(() => bench.close());

test('a sandbox takes invocations only while it is ready, and never comes back', async () => {
  const started = await bench.start(code, true);
  const { sandbox } = started;
  expect([sandbox.state, sandbox.usable]).toEqual(['ready', true]);
  expect((await started.call()).text).toBe('ok');
  sandbox.retire();
  expect([sandbox.state, sandbox.usable]).toEqual(['spent', false]);
  // It ends only after the invocations that it has.
  expect((await started.call()).text).toBe('ok');
  sandbox.kill('spent');
  expect([sandbox.state, sandbox.exit]).toEqual(['killed', undefined]);
  sandbox.retire();
  sandbox.kill('idle');
  await sandbox.ended;
  // Of several reasons the first counts.
  expect([sandbox.state, sandbox.end]).toEqual(['ended', 'spent']);
  sandbox.kill('idle');
  sandbox.retire();
  expect([sandbox.state, sandbox.end, sandbox.usable]).toEqual(['ended', 'spent', false]);
  await started.end();
});

test('a sandbox that is ended while it loads is never ready', async () => {
  const slow = await bench.addCode(
    'await new Promise((done) => setTimeout(done, 10_000)); export default {};',
  );
  const states: string[] = [];
  const started = bench.start(slow, true, {
    withinMs: 500,
    onFailure: () => states.push('failed'),
  });
  await expect(started).rejects.toThrow(/sandbox ended/);
  expect(states).toEqual(['failed']);
});
