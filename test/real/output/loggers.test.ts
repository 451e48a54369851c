/** A5, A13, K5: no line of a logger is lost, none is another invocation's, and its level is what the logger said. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Live } from '../../support/real/live.ts';
import { called, lines } from '../../support/real/logs.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live?.close();
});

const PINO = ['pino@10.4.0'];
const who = `const who = new URL(request.url).searchParams.get('who');`;

/** Calls a function ten times, one after another; returns the text of each line under the call that it names. */
async function tenCalls(name: string, more = ''): Promise<void> {
  const ids = new Map<string, string>();
  for (let at = 0; at < 10; at++) {
    const { id } = await called(live, name, `/?who=w${at}${more}`);
    ids.set(`w${at}`, id);
  }
  const found = await lines(live, name, 10);
  const own = found.filter(({ text }) => /w\d/.test(text));
  expect(own).toHaveLength(10);
  for (const { text, invocation, origin } of own) {
    expect(invocation).toBe(ids.get(/w\d/.exec(text)?.[0] ?? ''));
    expect(origin).toBeUndefined();
  }
}

test.each([
  ['answers at once', `log.error(who); return new Response('ok');`],
  ['throws', `log.error(who); throw new Error('no');`],
  ['waits', `await new Promise((done) => setTimeout(done, 5)); log.error(who); return new Response('ok');`],
])('A5 X1 pino as installed by default keeps all ten lines of a function that %s', async (_, body) => {
  const name = await live.deploy(
    `import pino from 'pino'; const log = pino();
     export default { async fetch(request) { ${who} ${body} } };`,
    { packages: PINO },
  );
  await tenCalls(name);
  const [line] = (await lines(live, name, 1)).filter(({ text }) => text.startsWith('{'));
  expect(line?.level).toBe('error');
});

test('A5 X1 pino as installed by default keeps the lines of queued calls and of queue()', async () => {
  const name = await live.deploy(
    `import pino from 'pino'; const log = pino();
     export default {
       async fetch(request) { log.error('queued ' + await request.text()); return new Response('ok'); },
       queue(batch) { for (const { body } of batch.messages) log.warn('item ' + body); },
     };`,
    { packages: PINO },
  );
  for (let at = 0; at < 3; at++)
    expect((await live.platform.cli('invoke', name, '--async', '--data', `"q${at}"`)).code).toBe(0);
  const answer = await fetch(`${live.platform.url}/api/v1/functions/default/${name}/batches`, {
    method: 'POST',
    headers: { authorization: `Bearer ${live.platform.key}`, 'content-type': 'application/x-ndjson' },
    body: '"b0"\n"b1"\n',
  });
  expect(answer.status).toBe(202);
  const found = await lines(live, name, 5);
  const texts = found.map(({ text, level }) => `${level} ${(JSON.parse(text) as { msg: string }).msg}`);
  expect(texts.toSorted()).toEqual([
    'error queued "q0"',
    'error queued "q1"',
    'error queued "q2"',
    'warn item b0',
    'warn item b1',
  ]);
  expect(found.every(({ invocation, origin }) => invocation !== undefined && origin === undefined)).toBe(
    true,
  );
});

test('A5 B34 K5 a transport of pino loses no line, and none is under another call', async () => {
  const name = await live.deploy(
    `import pino from 'pino'; const log = pino({ transport: { target: 'pino/file' } });
     export default { fetch(request) { ${who} log.error(who); return new Response('ok'); } };`,
    { packages: PINO },
  );
  const ids = new Map<string, string>();
  for (let at = 0; at < 5; at++) ids.set(`w${at}`, (await called(live, name, `/?who=w${at}`)).id);
  const found = await lines(live, name, 5);
  expect(found.map(({ text }) => (JSON.parse(text) as { msg: string }).msg)).toEqual([
    'w0',
    'w1',
    'w2',
    'w3',
    'w4',
  ]);
  for (const { text, invocation, level, origin } of found) {
    expect(level).toBe('error');
    if (origin === undefined) expect(invocation).toBe(ids.get(/w\d/.exec(text)?.[0] ?? ''));
    else expect(origin).toBe('unclaimed');
  }
});

test('A5 A13 B26 winston, bunyan and debug keep their lines, under their levels [OB40]', async () => {
  const name = await live.deploy(
    `import winston from 'winston'; import bunyan from 'bunyan'; import debug from 'debug'; import pino from 'pino';
     const transports = [new winston.transports.Console()];
     const json = winston.createLogger({ level: 'silly', transports });
     const simple = winston.createLogger({ level: 'silly', transports, format: winston.format.simple() });
     const bun = bunyan.createLogger({ name: 'app', level: 'trace' });
     const pin = pino({ level: 'trace' });
     debug.enable('app:*'); const bug = debug('app:x');
     export default { fetch() {
       for (const level of ['error', 'warn', 'info', 'http', 'verbose', 'debug', 'silly']) { json[level]('json ' + level); simple[level]('simple ' + level); }
       for (const level of ['fatal', 'error', 'warn', 'info', 'debug', 'trace']) { bun[level]('bunyan ' + level); pin[level]('pino ' + level); }
       bug('debug x');
       console.log(JSON.stringify({ severity: 'CRITICAL', message: 'gcp' }));
       console.error(JSON.stringify({ level: 'info', message: 'by console.error' }));
       return new Response('ok');
     } };`,
    { packages: ['winston@3.19.0', 'bunyan@1.8.15', 'debug@4.4.3', ...PINO] },
  );
  await called(live, name);
  const found = await lines(live, name, 29);
  const level = (part: string): string | undefined => found.find(({ text }) => text.includes(part))?.level;
  const WINSTON = {
    error: 'error',
    warn: 'warn',
    info: 'info',
    http: 'debug',
    verbose: 'debug',
    debug: 'debug',
    silly: 'trace',
  };
  for (const [said, wanted] of Object.entries(WINSTON)) {
    expect([said, level(`json ${said}`)]).toEqual([said, wanted]);
    expect([said, level(`simple ${said}`)]).toEqual([said, wanted]);
  }
  for (const said of ['fatal', 'error', 'warn', 'info', 'debug', 'trace'])
    expect([level(`bunyan ${said}`), level(`pino ${said}`)]).toEqual([said, said]);
  expect(level('debug x')).toBe('stderr');
  expect(level('gcp')).toBe('fatal');
  expect(level('by console.error')).toBe('info');
  const shown = await live.platform.cli('logs', name, '--level', 'fatal');
  expect(shown.stdout).toContain('pino fatal');
  expect(shown.stdout).not.toContain('pino error');
  expect((await live.platform.cli('logs', name, '--level', 'error')).stdout).not.toContain(
    'by console.error',
  );
});

test('A5 a transport that is made in a call writes after the answer, and its lines are marked', async () => {
  const name = await live.deploy(
    `import { Worker } from 'node:worker_threads';
     export default { fetch(request) { ${who}
       new Worker('setTimeout(() => require("fs").writeSync(1, ' + JSON.stringify(JSON.stringify({ level: 50, msg: who }) + '\\n') + '), 200)', { eval: true });
       return new Response('ok'); } };`,
  );
  await called(live, name, '/?who=w1');
  await sleep(50);
  const other = await called(live, name, '/?who=none&');
  const found = await lines(live, name, 2);
  const line = found.find(({ text }) => text.includes('"w1"'));
  expect(line).toMatchObject({ level: 'error', origin: 'unclaimed' });
  expect(line?.invocation).not.toBe(other.id);
});
