/** Views of other namespaces for the holder of a key of one namespace, and for a stranger without a key. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keys } from '#contract/platform/keys.ts';
import {
  PrivateRedis,
  send,
  startGateway,
  waitFor,
  type TestGateway,
} from '../../../support/gateway/fixture.ts';

let redis: PrivateRedis;
let gateway: TestGateway;
beforeAll(async () => {
  redis = await PrivateRedis.start();
  gateway = await startGateway(redis);
});
afterAll(async () => {
  await gateway.close();
  await redis.stop();
});

async function newKey(namespace: string): Promise<string> {
  const response = await send(gateway, '/api/v1/keys', {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ namespace, scopes: ['read'] }),
  });
  return (response.json() as { key: string }).key;
}

test('the list of workers names the namespace of its reader only [DA4, GW1]', async () => {
  const pool = { runtime: 'node26', prepared: 1, idle: 0, busy: 0 };
  const status = {
    id: 'w1',
    startedAt: 0,
    prepared: 2,
    idle: 0,
    busy: 0,
    running: 0,
    capacity: 1,
    queuedEnded: { ours: 1.5, theirs: 2.5 },
    pools: [
      { namespace: 'ours', ...pool },
      { namespace: 'theirs', ...pool },
    ],
  };
  await gateway.commands.set(keys.worker('w1'), JSON.stringify(status));
  await gateway.commands.zadd(keys.workers(), Date.now(), 'w1');
  const workers = async (key: string): Promise<unknown> =>
    (await send(gateway, '/api/v1/workers', { headers: { 'x-api-key': key } })).json();
  expect(await workers(gateway.key)).toEqual({ workers: [status] });
  const pools = [{ namespace: 'ours', ...pool }];
  expect(await workers(await newKey('ours'))).toEqual({
    workers: [{ ...status, queuedEnded: { ours: 1.5 }, pools }],
  });
  expect(await workers(await newKey('constructor'))).toEqual({
    workers: [{ ...status, queuedEnded: {}, pools: [] }],
  });
});

test('a stranger who asks for an unknown function costs a few reads, however many functions there are [GW8]', async () => {
  const names = Array.from({ length: 60 }, (_, at) => `private-${at}`);
  await Promise.all(names.map((name) => gateway.add(name, { access: 'key' }, 'many')));
  await gateway.add('greeting', {}, 'many');
  const reads = async (): Promise<number> => {
    const info = await gateway.commands.info('commandstats');
    return [...info.matchAll(/^cmdstat_(?:hget|hmget|hgetall|hkeys|smembers|sismember):calls=(\d+)/gm)]
      .map(([, calls]) => Number(calls))
      .reduce((sum, calls) => sum + calls, 0);
  };
  const before = await reads();
  const asked = Array.from({ length: 40 }, (_, at) => `privat-${at}`);
  const answers = await Promise.all(asked.map((name) => send(gateway, `/fn/many/${name}`)));
  expect(answers.map(({ status }) => status)).toEqual(asked.map(() => 404));
  expect(answers.map(({ body }) => body.toString()).join('')).not.toContain('private-');
  expect((await reads()) - before).toBeLessThan(40 * 10);
  const nearest = async (): Promise<unknown> => (await send(gateway, '/fn/many/greting')).json();
  expect(await nearest()).toMatchObject({ error: { details: { nearest: 'greeting' } } });
  // A function that is public no more is no longer suggested.
  await gateway.add('greeting', { access: 'key' }, 'many');
  await waitFor(async () => !JSON.stringify(await nearest()).includes('greeting'), 900);
});
