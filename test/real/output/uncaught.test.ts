/** A3, A5: listeners of a function to its own uncaught errors are those of Node, and no line that they print is lost. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Live } from '../../support/real/live.ts';
import { called, lines, linesOf, recordOf } from '../../support/real/logs.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live?.close();
});

/** Calls a function whose timer throws 'stray' after 50 ms, and that answers after 400 ms. */
async function stray(
  setUp: string,
  manifest: object = {},
): Promise<{ status: number; outcome: string | undefined; error: string; texts: string[] }> {
  const name = await live.deploy(
    `const pause = (ms) => new Promise((done) => setTimeout(done, ms)); ${setUp}
     export default { async fetch() { setTimeout(() => { throw new Error('stray'); }, 50); await pause(400); return new Response('answered'); } };`,
    { manifest },
  );
  const { id, answer } = await called(live, name);
  const { report } = await recordOf(live, id);
  const found = (await linesOf(live, name)).filter(({ invocation }) => invocation === id);
  const texts = found.map(({ text }) => text);
  return { status: answer.status, outcome: report?.outcome, error: report?.error?.message ?? '', texts };
}

test('A3 B27 a listener to uncaughtException takes the error, and the invocation goes on [OB43]', async () => {
  const found = await stray(
    `process.on('uncaughtException', (error, origin) => { console.log('taken ' + error.message + ' ' + origin); setTimeout(() => console.log('later'), 100); });`,
  );
  expect(found).toEqual({
    status: 200,
    outcome: 'ok',
    error: '',
    texts: ['taken stray uncaughtException', 'later'],
  });
});

test.each(['node26', 'node24'])(
  'A3 B27 a reporter that ends the process after its report loses neither its lines nor the error: %s [OB43]',
  async (runtime) => {
    const found = await stray(
      `process.on('uncaughtException', async (error) => { console.log('sync report'); await pause(200); console.log('reported'); process.exit(1); });`,
      { runtime },
    );
    expect(found).toEqual({
      status: 500,
      outcome: 'error',
      error: 'stray',
      texts: ['sync report', 'reported'],
    });
  },
);

test('A3 B27 without a listener, monitor and exit listeners print, and the error is the outcome [OB43]', async () => {
  const found = await stray(
    `process.on('uncaughtExceptionMonitor', () => console.log('monitor')); process.on('exit', (code) => console.log('exit ' + code));`,
  );
  expect(found).toMatchObject({ status: 500, outcome: 'error', error: 'stray' });
  expect(found.texts.filter((text) => !text.startsWith('    at '))).toEqual([
    'monitor',
    'Error: stray',
    'exit 1',
  ]);
});

test('A3 X4 a function sees no listener of the platform, and cannot remove its end [OB43]', async () => {
  const found = await stray(
    `console.log([...['uncaughtException', 'exit', 'unhandledRejection'].map((name) => process.listenerCount(name))].join());
     for (const name of process.eventNames()) process.removeAllListeners(name);`,
  );
  expect(found).toMatchObject({ status: 500, outcome: 'error', error: 'stray' });
  expect(found.texts).toContain('Error: stray');
});

test('A3 a listener that throws ends the process with its own error [OB43]', async () => {
  const found = await stray(
    `process.on('uncaughtException', () => { throw new Error('of the listener'); });`,
  );
  expect(found).toMatchObject({ status: 500, outcome: 'error', error: 'of the listener' });
});

test('A3 a capture callback takes the error as in Node [OB43]', async () => {
  const found = await stray(
    `process.setUncaughtExceptionCaptureCallback((error) => console.log('captured ' + error.message));`,
  );
  expect(found).toEqual({ status: 200, outcome: 'ok', error: '', texts: ['captured stray'] });
});

test('A3 a rejection that no code awaits is an uncaught error with its own origin [OB43]', async () => {
  const name = await live.deploy(
    `process.on('uncaughtException', (error, origin) => console.log(error.message + ' ' + origin));
     export default { async fetch() { Promise.reject(new Error('floating')); await new Promise((done) => setTimeout(done, 100)); return new Response('ok'); } };`,
  );
  const { id, answer } = await called(live, name);
  expect(answer.status).toBe(200);
  expect((await recordOf(live, id)).logs.map(({ text }) => text)).toEqual(['floating unhandledRejection']);
});

test('A3 a listener that takes each error does not hold an invocation beyond its time limit [OB43]', async () => {
  const name = await live.deploy(
    `process.on('uncaughtException', () => undefined);
     export default { fetch() { return new Promise(() => setTimeout(() => { throw new Error('stray'); }, 10)); } };`,
    { manifest: { timeout: 1 } },
  );
  const { id, answer } = await called(live, name);
  expect(answer.status).toBe(504);
  expect((await recordOf(live, id)).report?.outcome).toBe('timeout');
});

test('A3 B25 an error after the answer is in the log of its invocation, with what it throws [OB43]', async () => {
  const name = await live.deploy(
    `export default { fetch() { setTimeout(() => Promise.reject(new Error('mail refused', { cause: new Error('smtp') })), 200); return new Response('ok'); } };`,
  );
  const { id, answer } = await called(live, name);
  expect(answer.status).toBe(200);
  const found = await lines(live, name, 2);
  const texts = found.map(({ text }) => text).join('\n');
  expect(texts).toContain('Error: mail refused');
  expect(texts).toContain('[cause]: Error: smtp');
  expect(new Set(found.map(({ invocation, origin }) => `${invocation} ${origin}`))).toEqual(
    new Set([`${id} late`]),
  );
});

test('A3 A6 a listener to an error of the load is called, and its exit leaves the error as the reason [OB43]', async () => {
  const { result } = await live.tryDeploy(
    `process.on('uncaughtException', (error) => { console.log('taken at load'); process.exit(1); });
     setTimeout(() => { throw new Error('of the load'); }, 20); await new Promise((done) => setTimeout(done, 200));
     export default { fetch: () => new Response('ok') };`,
  );
  expect(result.code).not.toBe(0);
  expect(`${result.stdout}${result.stderr}`).toContain('of the load');
  expect(`${result.stdout}${result.stderr}`).toContain('taken at load');
});
