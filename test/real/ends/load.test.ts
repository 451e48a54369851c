/** A6: loading ends when it is known that what the module has started stands. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deploySource, linesOf, untilLogged } from '../../support/real/deployed.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
});
afterAll(() => platform.stop());

const ANSWER = `export default { fetch: () => new Response('ok') };`;

/** Each leaves an error behind that plain Node ends by, without a listener. */
const LEFT: Readonly<Record<string, string>> = {
  'an async function without await': `async function init() { await null; throw new Error('boom'); }\ninit();`,
  'a rejected promise': `Promise.reject(new Error('boom'));`,
  'an immediate': `setImmediate(() => { throw new Error('boom'); });`,
  'an immediate of a rejection': `setImmediate(() => { Promise.reject(new Error('boom')); });`,
  'a microtask': `queueMicrotask(() => { throw new Error('boom'); });`,
  'process.nextTick()': `process.nextTick(() => { throw new Error('boom'); });`,
  'a rejection after top-level await': `await null; Promise.reject(new Error('boom'));`,
};
let count = 0;
for (const [what, code] of Object.entries(LEFT)) {
  test(`A6 X2 ${what}: the deploy fails with the error and its place [LI10]`, async () => {
    const {
      code: exit,
      stdout,
      stderr,
    } = await deploySource(platform, `left-${count++}`, `${code}\n${ANSWER}`);
    expect(exit).toBe(1);
    expect(stdout + stderr).toContain('boom');
    expect(stdout + stderr).toContain('src/index.mjs:1');
    expect(stdout + stderr).not.toContain('process.exit()');
  });
}

test.each([
  [
    'a listener of rejections',
    `process.on('unhandledRejection', () => {}); Promise.reject(new Error('boom'));`,
  ],
  [
    'a rejection that is handled in time',
    `const p = Promise.reject(new Error('boom')); setImmediate(() => 0); p.catch(() => 0);`,
  ],
  ['a global that is replaced', `globalThis.setImmediate = () => 0;`],
])('A6 %s: the deploy succeeds, as plain Node goes on', async (_, code) => {
  const { code: exit, stderr } = await deploySource(platform, `right-${count++}`, `${code}\n${ANSWER}`);
  expect(exit, stderr).toBe(0);
});

test('A6 X3 a call that comes while an idle sandbox dies runs in another one [LI11]', async () => {
  const name = 'dies-now';
  // Busy at its end, so that a call is always on its way then.
  await deploySource(
    platform,
    name,
    `setTimeout(() => { for (const end = Date.now() + 600; Date.now() < end;); throw new Error('after load'); }, 300);\n${ANSWER}`,
  );
  for (let left = 3; left > 0; left--) {
    await platform.call(name);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const response = await platform.call(name);
    expect((await platform.record(response)).report?.outcome).toBe('ok');
    await new Promise((resolve) => setTimeout(resolve, 1_200));
  }
});

test('A6 X3 a sandbox that dies between invocations is an event of its function: error, line and number [LI11]', async () => {
  const name = 'dies-idle';
  await deploySource(platform, name, `setTimeout(() => { throw new Error('after load'); }, 700);\n${ANSWER}`);
  for (let left = 2; left > 0; left--) {
    expect((await platform.call(name)).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  const lines = await untilLogged(platform, name, /number 2 in a row/);
  expect(lines).toContain('Error: after load');
  expect(lines).toContain('src/index.mjs:1');
  expect(lines).toContain('the sandbox ended by itself between invocations');
  const { stdout } = await platform.cli('describe', name);
  expect(stdout).toMatch(/ended idle\s+\d+ sandboxes by themselves/);
  expect(await linesOf(platform, name)).not.toContain('process.exit()');
});
