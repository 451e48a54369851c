/** offshoot batch run: where it reads items, and where it writes their results. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import type { Batch } from '#contract/invocations/batch.ts';
import { fakeGateway, json, offshoot, temporaryFolder, type FakeGateway } from '../../support/cli.ts';

const MAIN = fileURLToPath(new URL('../../../cli/main.ts', import.meta.url));
const ARRAY = 'application/json';
const LINES = 'application/x-ndjson';
const DONE = ['--function', 'sum'];

interface Sent {
  readonly type: string | undefined;
  readonly body: string;
}

/** A gateway whose batches end at once, and the items that it got. */
async function batchGateway(): Promise<{ gateway: FakeGateway; sent: Sent[] }> {
  const gateway = await fakeGateway();
  const sent: Sent[] = [];
  const done: Batch = {
    id: 'b1',
    namespace: 'default',
    name: 'sum',
    version: 1,
    state: 'done',
    createdAt: 1,
    endedAt: 2,
    items: 1,
    succeeded: 1,
    failed: 0,
    groups: 1,
    groupsDone: 1,
  };
  gateway.routes.set('POST /api/v1/functions/default/sum/batches', (_request, response) =>
    json(response, 201, { taken: 0, batch: { ...done, state: 'open' } }),
  );
  gateway.routes.set('POST /api/v1/batches/b1/items', (request, response, body) => {
    sent.push({ type: request.headers['content-type'], body: body.toString() });
    json(response, 200, { taken: 1, batch: { ...done, state: 'open' } });
  });
  gateway.routes.set('POST /api/v1/batches/b1/seal', (_request, response) => json(response, 200, done));
  gateway.routes.set('GET /api/v1/batches/b1', (_request, response) => json(response, 200, done));
  gateway.routes.set('GET /api/v1/batches/b1/results', (_request, response) => {
    response.end('{"index":0}\n');
  });
  return { gateway, sent };
}

const INPUTS: readonly [what: string, text: string, type: string][] = [
  ['lines', '1\n2\n', LINES],
  ['an array', '[1, 2]', ARRAY],
  ['an array with an end of line', '\n [1, 2]\n', ARRAY],
  ['an array over lines', '[\n  1,\n  2\n]\n', ARRAY],
  ['an array in long pieces', `[${'"x", '.repeat(50_000)}1]\n`, ARRAY],
  ['lines that are arrays', '[1, 2]\n[3]\n', LINES],
  ['nothing', '', LINES],
];

test.each(INPUTS)(
  'offshoot batch run reads items from stdin and from a file: %s',
  async (_what, text, type) => {
    const { gateway, sent } = await batchGateway();
    const file = path.join(temporaryFolder(), 'items');
    writeFileSync(file, text);
    const piped = await offshoot(['batch', 'run', '-', ...DONE], { env: gateway.env, input: text });
    expect(piped).toMatchObject({ code: 0 });
    expect(await offshoot(['batch', 'run', file, ...DONE], { env: gateway.env })).toMatchObject({ code: 0 });
    expect(sent).toEqual([
      { type, body: text },
      { type, body: text },
    ]);
  },
);

test('a file whose name ends in .ndjson is read as lines, also when a line is an array', async () => {
  const { gateway, sent } = await batchGateway();
  const file = path.join(temporaryFolder(), 'items.ndjson');
  writeFileSync(file, '[1, 2]\n');
  expect(await offshoot(['batch', 'run', file, ...DONE], { env: gateway.env })).toMatchObject({ code: 0 });
  expect(sent).toEqual([{ type: LINES, body: '[1, 2]\n' }]);
});

test('offshoot batch run <(seq 1 10000) reads the output of another command, as bash provides it', async () => {
  const { gateway, sent } = await batchGateway();
  const env = { PATH: process.env['PATH'] ?? '', HOME: temporaryFolder(), ...gateway.env };
  await promisify(execFile)(
    'bash',
    ['-c', '"$0" "$1" batch run <(seq 1 10000) --function sum', process.execPath, MAIN],
    { env },
  );
  expect(sent.map(({ type, body }) => [type, body.trim().split('\n').length])).toEqual([[LINES, 10_000]]);
});

test('offshoot batch run ends when it fails, though more may come on stdin', async () => {
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: temporaryFolder(),
    OFFSHOOT_URL: 'http://127.0.0.1:1',
  };
  const child = spawn(process.execPath, [MAIN, 'batch', 'run', '-', ...DONE], { env });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.stdin.write('1\n');
  expect(await once(child, 'exit')).toEqual([3, null]);
});

test('a file that cannot be read or written is reported before there is a batch', async () => {
  const { gateway } = await batchGateway();
  const folder = temporaryFolder();
  const items = path.join(folder, 'items');
  writeFileSync(items, '1\n');
  mkdirSync(path.join(folder, 'taken'));
  const run = (...args: string[]) => offshoot(['batch', 'run', ...args, ...DONE], { env: gateway.env });
  const tries = [
    await run(items, '-o', path.join(folder, 'no/such/folder')),
    await run(items, '-o', path.join(folder, 'taken')),
    await run(path.join(folder, 'nothing')),
    await run(folder),
  ];
  for (const { code, stderr } of tries) {
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: .* cannot be (read|written): /);
  }
  expect(gateway.seen).toEqual([]);
});

test('the results replace the content of the output, which may be the file of the items', async () => {
  const { gateway, sent } = await batchGateway();
  const file = path.join(temporaryFolder(), 'items');
  writeFileSync(file, '"a long item of many words"\n');
  expect(await offshoot(['batch', 'run', file, '-o', file, ...DONE], { env: gateway.env })).toMatchObject({
    code: 0,
  });
  expect(sent).toEqual([{ type: LINES, body: '"a long item of many words"\n' }]);
  expect(readFileSync(file, 'utf8')).toBe('{"index":0}\n');
});

test('results that break off are reported as such, with the next command', async () => {
  const { gateway } = await batchGateway();
  gateway.routes.set('GET /api/v1/batches/b1/results', (_request, response) => {
    response.write('{"index":0}\n', () => response.destroy());
  });
  const folder = temporaryFolder();
  const items = path.join(folder, 'items');
  writeFileSync(items, '1\n');
  const written = await offshoot(['batch', 'run', items, '-o', path.join(folder, 'out'), ...DONE], {
    env: gateway.env,
  });
  const printed = await offshoot(['batch', 'results', 'b1'], { env: gateway.env });
  expect(printed.stdout).toBe('{"index":0}\n');
  for (const { code, stderr } of [written, printed]) {
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /error: the answer broke off before its end.*\nnext: offshoot batch results b1\n$/,
    );
  }
});
