/** A function's configuration in the API: no key sees the values of its variables, only their names. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ShownSettings, VersionSettings } from '#contract/functions/settings.ts';
import { PrivateRedis, send, startGateway, type TestGateway } from '../../../support/gateway/fixture.ts';

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

test.each(['/functions', '/functions/default', '/functions/default/secretive'])(
  '%s names variables and hides their values, of earlier versions too [GW9]',
  async (path) => {
    await gateway.add('secretive', { env: { DB_PASSWORD: 'hunter1' } });
    await gateway.add('secretive', { env: { DB_PASSWORD: 'hunter2', MODE: 'quick' } });
    const headers = { authorization: `Bearer ${gateway.key}` };
    const response = await send(gateway, `/api/v1${path}`, { headers });
    expect(response.status).toBe(200);
    const text = response.body.toString();
    expect(text).toContain('"env":["DB_PASSWORD","MODE"]');
    for (const value of ['hunter1', 'hunter2', 'quick']) expect(text).not.toContain(value);
  },
);

test('all other settings of a version are shown unchanged', () => {
  const { env, ...rest } = VersionSettings.parse({ memory: 64, env: { A: '1' } });
  expect(ShownSettings.parse({ ...rest, env: Object.keys(env) })).toEqual({ ...rest, env: ['A'] });
});
