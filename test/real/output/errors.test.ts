/** A12: what was thrown is shown as Node shows it, with positions in the source and without frames of the platform. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Live } from '../../support/real/live.ts';
import { called, lines, recordOf } from '../../support/real/logs.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live?.close();
});

/** The ways of throwing, each under its path. */
const THROWS: Readonly<Record<string, string>> = {
  cause: `throw new Error('cannot load prices', { cause: new TypeError('no connection', { cause: { host: 'db' } }) });`,
  deep: `let error = new Error('root of all'); for (let at = 0; at < 5; at++) error = new Error('level ' + at, { cause: error }); throw error;`,
  cyclic: `const a = new Error('a of two'); a.cause = new Error('b of two', { cause: a }); throw a;`,
  refused: `await fetch('http://127.0.0.1:54321');`,
  any: `await Promise.any([Promise.reject(new Error('first member')), Promise.reject(new TypeError('second member'))]);`,
  fields: `throw Object.assign(new Error('fields'), { code: 'E_FIELD', statusCode: 418, details: { sku: 7 } });`,
  plain: `throw { code: 'E42', message: 'no stock' };`,
  realm: `vm.runInNewContext("throw new TypeError('of another realm')");`,
  response: `throw new Response('gone', { status: 404 });`,
  undefined: `await Promise.reject();`,
  http: `throw { name: 'HttpError', status: 404, toString: () => 'as text' };`,
  getter: `throw Object.defineProperty(new Error('held'), 'name', { get() { throw new Error('hostile'); } });`,
  custom: `throw Object.assign(new Error('custom'), { [Symbol.for('nodejs.util.inspect.custom')]() { throw new Error('hostile'); } });`,
  proxy: `throw new Proxy({}, { get() { throw new Error('hostile'); }, getPrototypeOf() { throw new Error('hostile'); }, ownKeys() { throw new Error('hostile'); } });`,
  huge: `throw Object.assign(new Error('x'.repeat(3e6)), { list: Array.from({ length: 1e5 }, (_, at) => ({ at })) });`,
  null: `throw Object.assign(Object.create(null), { reason: 'bare' });`,
};
/** Texts that log and record have, by path. */
const SHOWN: Readonly<Record<string, readonly string[]>> = {
  cause: ['Error: cannot load prices', '[cause]: TypeError: no connection', "[cause]: { host: 'db' }"],
  deep: ['level 4', 'level 0', 'root of all'],
  cyclic: ['a of two', 'b of two', '[Circular *1]'],
  refused: ['TypeError: fetch failed', 'ECONNREFUSED', '54321'],
  any: ['AggregateError: All promises were rejected', 'Error: first member', 'TypeError: second member'],
  fields: ['Error: fields', "code: 'E_FIELD'", 'statusCode: 418', 'sku: 7'],
  plain: ["code: 'E42'", "message: 'no stock'"],
  realm: ['TypeError: of another realm'],
  response: ['a Response', '404'],
  undefined: ['undefined'],
  http: ["name: 'HttpError'", 'status: 404'],
  getter: ['held'],
  custom: ['custom'],
  proxy: ['a value that is not an Error was thrown'],
  huge: ['xxxx'],
  null: ["reason: 'bare'"],
};

const SOURCE = `import vm from 'node:vm';
export default {
  async fetch(request: Request): Promise<Response> {
    switch (new URL(request.url).pathname.slice(1)) {
${Object.entries(THROWS)
  .map(([path, code]) => `      case '${path}': { ${code} break; }`)
  .join('\n')}
    }
    return new Response('none');
  },
};
`;

test('A12 B22 B23 an error has its causes, members, codes and own fields in log and record [OB42]', async () => {
  const name = await live.deploy({ 'src/index.ts': SOURCE });
  for (const path of Object.keys(THROWS)) {
    const { id, answer } = await called(live, name, `/${path}`);
    expect([path, answer.status]).toEqual([path, 500]);
    const { report, logs } = await recordOf(live, id);
    expect([path, report?.outcome]).toEqual([path, 'error']);
    const error = report?.error;
    const recorded = `${error?.name}: ${error?.message}\n${error?.stack}`;
    const logged = logs.map(({ text }) => text).join('\n');
    for (const part of SHOWN[path] ?? []) {
      expect(recorded, `${path}: record`).toContain(part);
      expect(logged, `${path}: log`).toContain(part);
    }
    expect(recorded.length).toBeLessThan(40_000);
    for (const text of [recorded, logged]) expect(text, path).not.toMatch(/\/opt\/offshoot|index\.mjs/);
  }
  const { id } = await called(live, name, '/cause');
  expect((await recordOf(live, id)).report?.error?.stack).toMatch(/at .*src\/index\.ts:5:\d+/);
});

test.each(['node26', 'node24'])(
  'A12 X14 console, causes and a stack in code have positions of the source and no frames of the platform: %s [OB42]',
  async (runtime) => {
    const files = {
      'src/deep.ts': `export function thrower(): never {
  throw new Error('deep');
}
`,
      'src/index.ts': `import { thrower } from './deep.ts';
export default {
  async fetch(request: Request): Promise<Response> {
    try {
      thrower();
    } catch (error) {
      console.error('console', error);
      console.log('%o', new Error('by o'));
      console.trace('trace');
      try { await fetch('http://127.0.0.1:54321'); } catch (failed) { console.error(failed); }
      return new Response((error as Error).stack);
    }
    return new Response('none');
  },
};
`,
    };
    const name = await live.deploy(files, { manifest: { runtime } });
    const { id, answer } = await called(live, name);
    expect(answer.text).toMatch(/^Error: deep\n {4}at thrower \(file:\/\/\/var\/task\/src\/deep\.ts:2:9\)\n/);
    expect(answer.text).toMatch(/src\/index\.ts:5:7/);
    expect(answer.text).not.toMatch(/opt\/offshoot|index\.mjs/);
    const { logs } = await recordOf(live, id);
    const text = logs.map((line) => line.text).join('\n');
    expect(text).not.toMatch(/opt\/offshoot|index\.mjs|var\/task/);
    expect(text).toMatch(/at thrower \(src\/deep\.ts:2:9\)/);
    expect(text).toMatch(/Trace: trace\n {4}at .*src\/index\.ts:9:15/);
    expect(text).toContain('ECONNREFUSED');
  },
);

test('A12 a function of its own stack format is obeyed', async () => {
  const name = await live.deploy(
    `export default { fetch() {
       const before = Error.prepareStackTrace; Error.prepareStackTrace = (_, sites) => sites; const { stack } = new Error('x'); Error.prepareStackTrace = before;
       return Response.json([Array.isArray(stack), typeof stack[0].getFileName()]);
     } };`,
  );
  expect((await called(live, name)).answer.text).toBe('[true,"string"]');
});

test('A12 B22 errors of load, queue(), items, waitUntil() and dead letters are shown alike [OB42]', async () => {
  const CAUSE = `new Error('outer', { cause: Object.assign(new Error('inner'), { code: 'EINNER' }) })`;
  const { result } = await live.tryDeploy(
    `throw ${CAUSE}; export default { fetch: () => new Response('') };`,
  );
  expect(result.code).not.toBe(0);
  expect(`${result.stdout}${result.stderr}`).toContain('EINNER');
  const name = await live.deploy(
    `export default {
       fetch(request, env, ctx) { if (request.method === 'POST') throw ${CAUSE}; ctx.waitUntil(Promise.reject(${CAUSE})); return new Response('ok'); },
       queue() { throw ${CAUSE}; },
     };`,
    { manifest: { retries: { attempts: 1 } } },
  );
  const late = await called(live, name);
  const waited = (await lines(live, name, 3)).filter(({ invocation }) => invocation === late.id);
  expect(waited.map(({ text }) => text).join('\n')).toMatch(/^waitUntil: Error: outer\n[^]*EINNER/);
  await live.platform.cli('invoke', name, '--async', '--data', '1');
  await expect
    .poll(async () => (await live.platform.cli('dlq', 'list', '--json')).stdout, { timeout: 10_000 })
    .toContain(name);
  const letters = JSON.parse((await live.platform.cli('dlq', 'list', '--json')).stdout) as {
    deadLetters: { id: string; name: string }[];
  };
  const dead = letters.deadLetters.find((letter) => letter.name === name);
  expect((await live.platform.cli('dlq', 'show', dead?.id ?? '')).stdout).toContain('EINNER');
  const answer = await fetch(`${live.platform.url}/api/v1/functions/default/${name}/batches`, {
    method: 'POST',
    headers: { authorization: `Bearer ${live.platform.key}`, 'content-type': 'application/x-ndjson' },
    body: '1\n',
  });
  const { batch } = (await answer.json()) as { batch: { id: string } };
  const results = await (await live.platform.api(`/batches/${batch.id}/results?wait=1`)).text();
  expect(results).toContain('EINNER');
});

test('A12 an exception of a span has the causes too [OB42]', async () => {
  const name = await live.deploy(
    `import { trace } from '@opentelemetry/api';
     export default { fetch() { trace.getTracer('t').startActiveSpan('s', (span) => { span.recordException(new Error('outer', { cause: new Error('inner') })); span.end(); }); return new Response('ok'); } };`,
    { packages: ['@opentelemetry/api@1.9.0'] },
  );
  const { id } = await called(live, name);
  expect(JSON.stringify((await recordOf(live, id)).report?.spans)).toContain('[cause]: Error: inner');
});
