/** A3: an end that comes from outside is told to the function's code first, which has a bounded time for it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deploySource, untilLogged } from '../../support/real/deployed.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
});
afterAll(() => platform.stop());

const TICKS = `
let n = 0;
export default { async fetch(request, env, ctx) {
  const { pathname } = new URL(request.url);
  if (pathname === '/count') return new Response(String(++n));
  n++;
  if (pathname === '/stream') {
    let timer;
    return new Response(new ReadableStream({
      start(c) { timer = setInterval(() => c.enqueue(new TextEncoder().encode('tick')), 50); },
      cancel(reason) { clearInterval(timer); console.log('cancel', reason.name); },
    }));
  }
  if (pathname === '/poll') {
    while (!request.signal.aborted) await new Promise((r) => setTimeout(r, 20));
    console.log('polled', request.signal.reason.message);
    return new Response('late');
  }
  if (pathname === '/fetch') {
    const http = await import('node:http');
    const server = http.createServer(() => {}).listen(0, '127.0.0.1');
    await new Promise((r) => server.once('listening', r));
    try { await fetch('http://127.0.0.1:' + server.address().port, { signal: request.signal }); }
    finally { server.closeAllConnections(); server.close(); console.log('upstream', request.signal.aborted); }
  }
  if (pathname === '/cleanup') {
    ctx.waitUntil(new Promise((resolve) => request.signal.addEventListener('abort', () => setTimeout(() => { console.log('cleaned'); resolve(); }, 100))));
  }
  request.signal.addEventListener('abort', () => console.log('abort', request.signal.reason.name));
  try {
    await new Promise((_, reject) => request.signal.addEventListener('abort', () => reject(request.signal.reason)));
  } finally { console.log('finally'); }
} };`;

async function leave(path: string, ms = 400): Promise<void> {
  await platform
    .call(path, { signal: AbortSignal.timeout(ms) })
    .then((r) => r.text())
    .catch(() => undefined);
}

for (const [way, line] of Object.entries({
  stream: /cancel AbortError/,
  poll: /polled/,
  fetch: /upstream true/,
  cleanup: /cleaned/,
  wait: /abort AbortError[^]*finally/,
})) {
  test(`A3 B03 a caller who leaves, /${way}: the code hears of it, and its sandbox stays [CA30]`, async () => {
    const name = `leaves-${way}`;
    await deploySource(platform, name, TICKS);
    expect(await (await platform.call(`${name}/count`)).text()).toBe('1');
    await leave(`${name}/${way}`);
    await untilLogged(platform, name, line);
    await sleep(200);
    expect(await (await platform.call(`${name}/count`)).text()).toBe('3');
  });
}

test('A3 a timeout is told to the code; it is the outcome though the code answers in its grace [CA30]', async () => {
  const name = 'times-out';
  await deploySource(platform, name, TICKS, { timeout: 1 });
  const response = await platform.call(`${name}/poll`);
  expect(response.status).toBe(504);
  expect((await platform.record(response)).report?.outcome).toBe('timeout');
  await untilLogged(platform, name, /polled the time limit is over/);
  expect(await (await platform.call(`${name}/count`)).text()).toBe('2');
});

const STUBBORN = `
process.on('SIGTERM', () => { console.log('sigterm'); setTimeout(() => { console.log('flushed'); process.exit(0); }, 100); });
process.on('exit', () => console.log('exit'));
export default { async fetch(request) {
  if (new URL(request.url).pathname === '/hang') await new Promise(() => setInterval(() => 0, 1_000));
  return new Response('ok');
} };`;

test('A3 B28 listeners of SIGTERM and exit run where the code does not end, and their output is kept [CA31]', async () => {
  const name = 'stubborn';
  await deploySource(platform, name, STUBBORN, { timeout: 1 });
  const response = await platform.call(`${name}/hang`);
  expect(response.status).toBe(504);
  const lines = await untilLogged(platform, name, /exit/);
  expect(lines).toMatch(/sigterm[^]*flushed[^]*exit/);
});

test('A3 code that does not stop is ended within the grace, and a busy loop sooner [CA32]', async () => {
  const name = 'never-stops';
  await deploySource(
    platform,
    name,
    `export default { async fetch(request) {
      request.signal.addEventListener('abort', () => console.log('heard'));
      if (new URL(request.url).pathname === '/busy') for (;;);
      await new Promise(() => setInterval(() => 0, 1_000));
    } };`,
    { timeout: 1 },
  );
  for (const [path, most] of [
    ['hang', 3_500],
    ['busy', 2_500],
  ] as const) {
    const start = performance.now();
    expect((await platform.call(`${name}/${path}`)).status).toBe(504);
    expect(performance.now() - start).toBeLessThan(most);
  }
});

test('A3 code that listens to nothing is ended at once [CA32]', async () => {
  const name = 'no-hooks';
  await deploySource(
    platform,
    name,
    `export default { fetch: () => new Promise(() => setInterval(() => 0, 1_000)) };`,
    { timeout: 1 },
  );
  await platform.call(name);
  const start = performance.now();
  expect((await platform.call(name)).status).toBe(504);
  expect(performance.now() - start).toBeLessThan(1_450);
});

test('X4 a function that takes all listeners away cannot take the end of its process away [CA33]', async () => {
  const name = 'no-listeners';
  await deploySource(
    platform,
    name,
    `for (const event of process.eventNames()) process.removeAllListeners(event);
    export default { fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === '/throw') setTimeout(() => { throw new Error('boom'); }, 10);
      if (pathname === '/exit') { console.log('last words'); process.exit(3); }
      return new Promise(() => setTimeout(() => 0, 5_000));
    } };`,
  );
  const thrown = await platform.call(`${name}/throw`);
  expect((await platform.record(thrown)).report?.error?.message).toBe('boom');
  const exited = await platform.call(`${name}/exit`);
  expect((await platform.record(exited)).report?.outcome).toBe('exited');
  await untilLogged(platform, name, /last words/);
});

test('B27 a listener of uncaughtException is the function’s own, as in Node: both lines, and the call goes on [CA33]', async () => {
  const name = 'listens';
  await deploySource(
    platform,
    name,
    `import { setTimeout as sleep } from 'node:timers/promises';
    process.on('uncaughtException', async (error) => { console.log('sync report', error.message); await sleep(100); console.log('reported'); });
    export default { async fetch() {
      setTimeout(() => { throw new Error('boom'); }, 10);
      await sleep(400);
      return new Response('ok');
    } };`,
  );
  expect((await platform.call(name)).status).toBe(200);
  await untilLogged(platform, name, /sync report boom[^]*reported/);
});

test('A3 B28 at the stop of a worker an idle sandbox hears SIGTERM, and its lines are in the function’s log [CA31]', async () => {
  const name = 'idle-end';
  await deploySource(platform, name, STUBBORN);
  expect((await platform.call(name)).status).toBe(200);
  await platform.kill('worker', 'SIGTERM');
  await untilLogged(platform, name, /sigterm[^]*flushed[^]*exit/);
});
