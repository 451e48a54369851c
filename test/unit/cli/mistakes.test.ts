/**
 * Mistakes at the command line, and answers that break off: each is reported as such, with the next command to type.
 */
import { expect, test } from 'vitest';
import { fakeGateway, json, offshoot } from '../../support/cli.ts';

const OK = { 'x-offshoot-invocation': 'inv-1' };

test.each([
  ['GET', 'sends no body'],
  ['HEAD', 'sends no body'],
  ['G T', 'is not a method'],
  ['TRACE', 'is not a method'],
])('invoke --method %s --data is refused, and nothing is sent', async (method, why) => {
  const gateway = await fakeGateway();
  const ran = await offshoot(['invoke', 'x', '--method', method, '--data', 'foo'], { env: gateway.env });
  expect(ran).toMatchObject({ code: 2, stdout: '' });
  expect(ran.stderr).toContain(why);
  expect(ran.stderr).toMatch(/next: offshoot invoke x --method POST --data foo\n$/);
  expect(gateway.seen).toEqual([]);
});

test.each([
  ['invoke', 'x', '--header', 'x-é: 1'],
  ['invoke', 'x', '--header', 'x-a: ☃'],
  ['invoke', 'x', '--header', 'no colon'],
  ['invoke', 'x', '--async', '--idempotency-key', '☃'],
])('%s %s %s "%s" is refused', async (...args) => {
  const gateway = await fakeGateway();
  const ran = await offshoot(args, { env: gateway.env });
  expect(ran).toMatchObject({ code: 2, stdout: '' });
  expect(ran.stderr).not.toContain('offshoot itself failed');
  expect(ran.stderr).toContain(args.at(-1));
  expect(gateway.seen).toEqual([]);
});

test('an answer that its function breaks off names the invocation, in the JSON document too', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('GET /fn/default/breaks/', (_request, response) => {
    response.writeHead(200, { ...OK, 'content-type': 'text/plain' });
    response.write('half of it', () => response.destroy());
  });
  gateway.routes.set('GET /api/v1/invocations/inv-1/result', (_request, response) => {
    response.writeHead(200, OK);
    response.write('half of it', () => response.destroy());
  });
  for (const args of [
    ['invoke', 'breaks'],
    ['result', 'inv-1'],
  ]) {
    const ran = await offshoot(args, { env: gateway.env });
    expect(ran).toMatchObject({ code: 1, stdout: 'half of it' });
    expect(ran.stderr).toMatch(/error: the answer broke off before its end.*\nnext: offshoot trace inv-1\n$/);
    const asJson = await offshoot([...args, '--json'], { env: gateway.env });
    expect(asJson.code).toBe(1);
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      error: { code: 'broken_off', next: 'offshoot trace inv-1' },
    });
  }
});

test.each([
  ['redrive', []],
  ['purge', ['--yes']],
])('dlq %s takes an id or a choice, not both', async (action, yes) => {
  const gateway = await fakeGateway();
  gateway.routes.set(`POST /api/v1/dead-letters/default/${action}`, (_request, response) =>
    json(response, 200, { ids: ['inv-1', 'inv-2'] }),
  );
  for (const choice of [['--all'], ['--function', 'sum'], ['--all', '--function', 'sum']]) {
    const ran = await offshoot(['dlq', action, 'inv-1', ...choice, ...yes], { env: gateway.env });
    expect(ran).toMatchObject({ code: 2, stdout: '' });
    expect(ran.stderr).toMatch(/next: offshoot dlq (redrive|purge) inv-1\n$/);
  }
  expect(gateway.seen).toEqual([]);
  const ran = await offshoot(['dlq', action, 'inv-1', ...yes], { env: gateway.env });
  expect(ran).toMatchObject({ code: 0 });
});
