/** What the holder of a key of one namespace, and who holds none, is told of what is not theirs. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keys } from '#contract/keys.ts';
import { PrivateRedis, send, startGateway, type TestGateway } from './gateway-fixture.ts';

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

test('the list of workers names the namespace of its reader only', async () => {
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
