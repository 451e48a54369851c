import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Stopwatch } from '../../support/platform/stopwatch.ts';
import { fakeGateway, FUNCTIONS, json, offshoot, temporaryFolder } from '../../support/cli.ts';

const MAIN = fileURLToPath(new URL('../../../cli/main.ts', import.meta.url));
const LOGS = 'GET /api/v1/functions/default/talker/logs';

interface Running {
  stdout: string;
  stderr: string;
  interrupt(): Promise<number | null>;
}

/** Starts a verb that goes on until Ctrl-C. */
function start(args: readonly string[], cwd: string, env: Record<string, string>): Running {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd,
    env: { PATH: process.env['PATH'] ?? '', HOME: temporaryFolder(), ...env },
  });
  const running: Running = {
    stdout: '',
    stderr: '',
    interrupt: async () => {
      const exit = once(child, 'exit');
      child.kill('SIGINT');
      await exit;
      return child.exitCode;
    },
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (running.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (running.stderr += text));
  onTestFinished(() => void child.kill('SIGKILL'));
  return running;
}

function line(invocation: string, level: string, text: string): object {
  return { time: Date.now(), invocation, level, text };
}

function sendEvent(response: ServerResponse, id: string, data: object): void {
  response.write(`id: ${id}\ndata: ${JSON.stringify(data)}\n\n`);
}

test('logs shows the existing lines, filtered, with control characters made visible [OB19]', async () => {
  const gateway = await fakeGateway();
  const lines = [
    line('a', 'log', 'plain \u001b[2Jtext\u009b1m\u202e'),
    line('b', 'error', 'bad'),
    line('b', 'debug', 'fine'),
  ];
  gateway.routes.set(LOGS, (_request, response) => json(response, 200, { logs: lines }));
  const all = await offshoot(['logs', 'talker'], { env: gateway.env });
  expect(all.stdout).toContain('plain ␛[2Jtext');
  const document = await offshoot(['logs', 'talker', '--json'], { env: gateway.env });
  expect(document.stdout).toContain('plain \\u001b[2Jtext\\u009b1m\\u202e');
  const { logs } = JSON.parse(document.stdout) as { logs: { text: string }[] };
  expect(logs[0]?.text).toBe('plain \u001b[2Jtext\u009b1m\u202e');
  expect(all.stdout.trimEnd().split('\n')).toHaveLength(3);
  const grave = await offshoot(['logs', 'talker', '--level', 'warn', '--json'], { env: gateway.env });
  expect(JSON.parse(grave.stdout)).toMatchObject({ logs: [{ text: 'bad' }] });
  // An open invocation may have no record yet.
  const unknown = {
    code: 'invocation_not_found',
    message: 'there is no invocation b',
    next: 'offshoot list',
  };
  gateway.routes.set('GET /api/v1/invocations/b', (_request, response) =>
    json(response, 404, { error: unknown }),
  );
  const one = await offshoot(['logs', 'talker', '-i', 'b', '--json'], { env: gateway.env });
  expect(JSON.parse(one.stdout)).toMatchObject({ logs: [{ text: 'bad' }, { text: 'fine' }] });
  expect((await offshoot(['logs', 'talker', '--level', 'loud'], { env: gateway.env })).code).toBe(2);
});

/** The record that the gateway has of an open or an ended invocation. */
function record(id: string, outcome?: string): object {
  return {
    id,
    namespace: 'default',
    name: 'talker',
    version: 1,
    lane: 'sync',
    method: 'GET',
    path: '/',
    traceId: 'f'.repeat(32),
    spanId: 'a'.repeat(16),
    sampled: true,
    startedAt: 1,
    requestBytes: 0,
    ...(outcome === undefined
      ? { state: 'running' }
      : { state: 'done', outcome, status: 500, duration: 1, gateway: 0, queue: 0, responseBytes: 0 }),
  };
}

test('logs takes a time, shows all kept lines of one invocation, or those of invocations with one outcome', async () => {
  const gateway = await fakeGateway();
  const asked: (string | null)[] = [];
  gateway.routes.set(LOGS, (request, response) => {
    asked.push(new URL(request.url ?? '', gateway.url).searchParams.get('since'));
    json(response, 200, { logs: [line('good', 'log', 'fine'), line('bad', 'log', 'not fine')] });
  });
  gateway.routes.set('GET /api/v1/invocations', (request, response) => {
    const { searchParams } = new URL(request.url ?? '', gateway.url);
    expect(Object.fromEntries(searchParams)).toMatchObject({ name: 'talker', outcome: 'error' });
    json(response, 200, { invocations: [record('bad', 'error')] });
  });
  gateway.routes.set('GET /api/v1/invocations/old', (_request, response) =>
    json(response, 200, {
      ...record('old', 'error'),
      spans: [],
      logs: [{ time: 1, level: 'log', text: 'from the queue', attempt: 2, item: 17 }],
    }),
  );
  const run = async (...args: string[]): Promise<string> => {
    const ran = await offshoot(['logs', 'talker', ...args], { env: gateway.env });
    expect(ran.code, ran.stderr).toBe(0);
    return ran.stdout;
  };
  const now = Date.now();
  expect(await run('--outcome', 'error', '--since', '10m')).toMatch(/^.*not fine\n$/);
  expect(Number(asked[0])).toBeGreaterThan(now - 601_000);
  expect(Number(asked[0])).toBeLessThan(now - 590_000);
  // The log of the function no longer has this line. The line shows which attempt and item printed it.
  expect(await run('-i', 'old')).toMatch(/old {2}try 2 item 17 {2}log +from the queue\n$/);
  expect(asked).toHaveLength(1);
  const wrong = await offshoot(['logs', 'talker', '--outcome', 'bad'], { env: gateway.env });
  expect(wrong.code).toBe(2);
  expect(wrong.stderr).toContain('out_of_memory');
  expect((await offshoot(['logs', 'talker', '--since', 'then'], { env: gateway.env })).code).toBe(2);
});

test('logs -f with an outcome holds lines until their invocation has ended, and then shows those that match [OB19]', async () => {
  const gateway = await fakeGateway();
  let ended: string | undefined;
  let stream: ServerResponse | undefined;
  gateway.routes.set(LOGS, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const [at, id] of ['lasts', 'fails', 'works', 'fails'].entries())
      sendEvent(response, `${at}-0`, line(id, 'log', `line ${at}`));
    stream = response;
  });
  for (const [id, outcome] of [
    ['fails', 'error'],
    ['works', 'ok'],
  ] as const)
    gateway.routes.set(`GET /api/v1/invocations/${id}`, (_request, response) =>
      json(response, 200, { ...record(id, outcome), spans: [], logs: [] }),
    );
  gateway.routes.set('GET /api/v1/invocations/lasts', (_request, response) =>
    json(response, 200, { ...record('lasts', ended), ...(ended !== undefined && { spans: [] }), logs: [] }),
  );
  const args = ['logs', 'talker', '-f', '--outcome', 'error', '--json'];
  const running = start(args, temporaryFolder(), gateway.env);
  const shown = (): string[] =>
    running.stdout
      .split('\n')
      .filter(Boolean)
      .map((text) => (JSON.parse(text) as { text: string }).text);
  await vi.waitFor(() => expect(shown()).toEqual(['line 1', 'line 3']), { timeout: 10_000 });
  // Lines of leftover work, printed after the end, are shown at once; a streaming invocation waits for its end.
  if (stream) sendEvent(stream, '9-0', line('fails', 'log', 'late'));
  if (stream) sendEvent(stream, '10-0', line('works', 'log', 'late as well'));
  await vi.waitFor(() => expect(shown()).toEqual(['line 1', 'line 3', 'late']), { timeout: 5_000 });
  ended = 'error';
  await vi.waitFor(() => expect(shown()).toEqual(['line 1', 'line 3', 'late', 'line 0']), { timeout: 5_000 });
  expect(await running.interrupt()).toBe(0);
});

test('logs -f goes on after a lost connection, at the line where it broke off', async () => {
  const gateway = await fakeGateway();
  const asked: (string | undefined)[] = [];
  gateway.routes.set(LOGS, (request, response) => {
    asked.push(request.headers['last-event-id']?.toString());
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    sendEvent(response, `${asked.length}-0`, line('a', 'log', `number ${asked.length}`));
    if (asked.length === 1) setTimeout(() => response.destroy(), 20);
  });
  const running = start(['logs', 'talker', '-f', '--json'], temporaryFolder(), gateway.env);
  await vi.waitFor(() => expect(running.stdout.split('\n')).toHaveLength(3), { timeout: 10_000 });
  expect(
    running.stdout
      .trimEnd()
      .split('\n')
      .map((text) => (JSON.parse(text) as { text: string }).text),
  ).toEqual(['number 1', 'number 2']);
  expect(asked).toEqual([undefined, '1-0']);
  expect(await running.interrupt()).toBe(0);
});

test('logs -f of an unknown function fails at once', async () => {
  const gateway = await fakeGateway();
  const ran = await offshoot(['logs', 'absent', '-f'], { env: gateway.env });
  expect(ran).toMatchObject({ code: 1, stdout: '' });
});

test('trace draws the spans, and says what the outcome means and what to do', async () => {
  const gateway = await fakeGateway();
  const span = { attributes: {}, parentSpanId: 'r' };
  const detail = {
    id: 'inv-9',
    namespace: 'default',
    name: 'talker',
    version: 3,
    lane: 'sync',
    state: 'done',
    outcome: 'out_of_memory',
    status: 502,
    method: 'GET',
    path: '/x',
    traceId: 'f'.repeat(32),
    spanId: 'r',
    sampled: true,
    startedAt: 0,
    duration: 100,
    gateway: 1,
    queue: 1,
    requestBytes: 0,
    responseBytes: 0,
    report: {
      outcome: 'out_of_memory',
      exitCause: 'signal SIGKILL',
      worker: 'w1',
      sandbox: 's1',
      acquired: 'cold',
      coldReason: 'first_call',
      timings: { acquire: 20, init: 8, run: 70, total: 98 },
      usage: { cpu: 65, memoryPeak: 134_217_728 },
      pidsRefused: 3,
      refusedCalls: ['socket(AF_VSOCK)', 'ptrace'],
      logBytes: 5,
      logBytesDropped: 0,
    },
    logs: [{ time: 0, level: 'log', text: 'about to allocate' }],
    spans: [
      { name: 'invoke', spanId: 'r', start: 0, duration: 100, attributes: {} },
      { name: 'acquire', spanId: 'a', start: 2, duration: 20, ...span },
      { name: 'run', spanId: 'b', start: 30, duration: 70, ...span },
    ],
  };
  gateway.routes.set('GET /api/v1/invocations/inv-9', (_request, response) => json(response, 200, detail));
  const ran = await offshoot(['trace', 'inv-9'], { env: gateway.env });
  expect(ran.code).toBe(0);
  for (const expected of [
    'default/talker version 3  GET /x  out_of_memory 502  100 ms',
    /acquire +20\.0 ms .*█+.* cold: first call/,
    /pids +3 processes or threads were refused/,
    /refused +socket\(AF_VSOCK\), ptrace/,
    /run +70\.0 ms {2} +█+/,
    'ended by  signal SIGKILL',
    '134.2 MB at its peak',
    'out_of_memory: the function used more memory than its limit and was killed',
    'about to allocate',
  ]) {
    expect(ran.stdout).toMatch(expected);
  }
  expect(ran.stderr).toMatch(/next: raise "memory" in offshoot.json\n$/);
  const asJson = await offshoot(['trace', 'inv-9', '--json'], { env: gateway.env });
  expect(JSON.parse(asJson.stdout)).toEqual(detail);
});

test('trace also takes the id of a trace, and draws everything that was called within it', async () => {
  const gateway = await fakeGateway();
  const traceId = 'e'.repeat(32);
  const span = { kind: 'internal', attributes: {}, invocation: 'inv-1' };
  const whole = {
    traceId,
    startedAt: 0,
    duration: 100,
    invocations: [
      {
        id: 'inv-1',
        namespace: 'shop',
        name: 'order',
        version: 1,
        lane: 'sync',
        state: 'done',
        outcome: 'ok',
        status: 200,
        start: 0,
        duration: 100,
      },
      {
        id: 'inv-2',
        namespace: 'shop',
        name: 'stock',
        version: 1,
        lane: 'queued',
        state: 'running',
        start: 50,
      },
    ],
    spans: [
      { name: 'caller', spanId: 'c', depth: 0, process: 'caller', kind: 'client', attributes: {} },
      { ...span, name: 'shop/order', spanId: 'r', depth: 1, process: 'gateway', start: 0, duration: 100 },
      {
        ...span,
        name: 'eu\u001b[31mvil',
        spanId: 'f',
        depth: 2,
        process: 'function',
        start: 8e15,
        duration: 8e15,
        error: 'on \u202epurpose',
      },
      { ...span, name: 'shop/stock', spanId: 's', depth: 3, process: 'gateway', start: 50 },
    ],
    invocationsCut: 7,
    spansCut: 0,
  };
  gateway.routes.set(`GET /api/v1/invocations/${traceId}`, (_request, response) =>
    json(response, 404, { error: { code: 'invocation_not_found', message: 'there is none', next: 'look' } }),
  );
  gateway.routes.set(`GET /api/v1/traces/${traceId}`, (_request, response) => json(response, 200, whole));
  const ran = await offshoot(['trace', traceId], { env: gateway.env });
  expect(ran.code).toBe(0);
  const [head, , caller, order, evil, stock, , cut] = ran.stdout.split('\n');
  expect(head).toMatch(/^trace e{32} {2}.* {2}100 ms$/);
  expect(caller).toMatch(/^ {2}caller +caller +its own times are not known here$/);
  expect(order).toMatch(/^ {4}shop\/order +gateway +100 ms {2}█+$/);
  expect(evil).toMatch(/^ {6}eu␛\[31mvil +function +\d+\.\d s +▏$/);
  expect(stock).toMatch(/^ {8}shop\/stock +gateway +runs +█+$/);
  expect(cut).toBe('  not shown: 7 later invocations');
  expect(ran.stdout).toMatch(/inv-2 +shop\/stock +queued +running/);
  expect(ran.stdout).toContain('eu␛[31mvil failed: on \\u202epurpose');
  expect(ran.stderr).toBe('\nnext: offshoot trace inv-1\n');
  const asJson = await offshoot(['trace', traceId, '--json'], { env: gateway.env });
  expect(JSON.parse(asJson.stdout)).toEqual(whole);

  gateway.routes.set(`GET /api/v1/traces/${traceId}`, (_request, response) =>
    json(response, 404, { error: { code: 'trace_not_found', message: 'there is none', next: 'look' } }),
  );
  const absent = await offshoot(['trace', traceId], { env: gateway.env });
  expect(absent).toMatchObject({ code: 1, stdout: '' });
  expect(absent.stderr).toContain(`there is neither an invocation nor a trace ${traceId}`);
});

test('dev deploys at every change within a second, and an error leaves the old version serving', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('GET /healthz', (_request, response) => json(response, 200, {}));
  gateway.routes.set('GET /api/v1/functions/default/hello-fetch/logs', (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    sendEvent(response, '1-0', { ...line('inv-1', 'log', 'from the function'), time: Date.now() + 1_000 });
  });
  const folder = temporaryFolder();
  cpSync(path.join(FUNCTIONS, 'hello-fetch'), folder, { recursive: true });
  const running = start(['dev'], folder, gateway.env);
  const lives = (): number => running.stdout.split(' version 1 in ').length - 1;
  await vi.waitFor(() => expect(lives()).toBe(1), { timeout: 10_000 });
  expect(running.stdout).toContain(`curl ${gateway.url}/fn/default/hello-fetch`);
  await vi.waitFor(() => expect(running.stdout).toContain('from the function'));

  const source = path.join(folder, 'src/index.ts');
  const text = readFileSync(source, 'utf8');
  const started = Stopwatch.start();
  writeFileSync(source, text.replace("'world'", "'planet'"));
  await vi.waitFor(() => expect(lives()).toBe(2), { timeout: 5_000, interval: 10 });
  expect(started.stop()).toBeLessThan(1_000);

  writeFileSync(source, text.replace("'world'", ''));
  await vi.waitFor(() => expect(running.stderr).toContain('the version before goes on serving'));
  expect(running.stderr).toContain('src/index.ts:5:');
  writeFileSync(source, text);
  await vi.waitFor(() => expect(lives()).toBe(3), { timeout: 5_000 });
  expect(gateway.artifacts.size).toBe(2);
  expect(await running.interrupt()).toBe(0);
});
