/** /api/v1: archives, versions, and which version is called. */
import { request, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Accepted, DeployResult, FunctionDetail } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import { MAX_ARCHIVE_BYTES } from '#contract/functions/limits.ts';
import { packArchive } from '../../../support/platform/archive.ts';
import { GatewayBench, problemOf } from '../../../support/gateway/gateway-bench.ts';
import type { FakeCall, FakeHandler } from '../../../support/gateway/fake-worker.ts';
import { send, startGateway, waitFor, type RawResponse } from '../../../support/gateway/fixture.ts';

let bench: GatewayBench;
const answer: FakeHandler = (one) =>
  one.result({ status: 200, headers: [] }, Buffer.from(`v${one.header.version}`));

beforeAll(async () => {
  bench = await GatewayBench.start(answer);
});
beforeEach(() => bench.reset());
afterAll(() => bench.stop());

describe('deploying', () => {
  test('a function is deployed, and then its next version', async () => {
    const first = await bench.deploy('hello', { manifest: { name: 'hello', access: 'public', memory: 64 } });
    expect(first.status).toBe(201);
    expect(first.json()).toMatchObject({
      function: {
        namespace: 'default',
        name: 'hello',
        activeVersion: 1,
        url: '/fn/default/hello',
        active: {
          version: 1,
          entryFile: 'index.mjs',
          settings: { memory: 64, timeout: 30, runtime: 'node26' },
        },
      },
      load: { init: 0 },
    });
    expect(bench.call.header).toMatchObject({
      operation: 'load',
      version: 1,
      namespace: 'default',
      name: 'hello',
    });
    expect((await send(bench.gateway, '/fn/default/hello')).body.toString()).toBe('v1');

    const second = (
      await bench.deploy('hello', { manifest: { name: 'hello', access: 'public' } })
    ).json() as DeployResult;
    expect(second.function.activeVersion).toBe(2);
    // At once: the next call goes to the new version.
    expect((await send(bench.gateway, '/fn/default/hello')).body.toString()).toBe('v2');

    const detail = (await bench.api('/functions/default/hello')).json() as FunctionDetail;
    expect(detail.versions.map((one) => one.version)).toEqual([2, 1]);
    await waitFor(
      async () =>
        ((await bench.api('/functions/default/hello')).json() as FunctionDetail).recent.length === 2,
    );
  });

  test('a deploy reaches other gateways at once', async () => {
    const other = await startGateway(bench.redis, { state: bench.gateway.state });
    await bench.deploy('shared', { manifest: { name: 'shared', access: 'public' } });
    expect((await send(other, '/fn/default/shared')).body.toString()).toBe('v1');
    await bench.deploy('shared', { manifest: { name: 'shared', access: 'public' } });
    await waitFor(async () => (await send(other, '/fn/default/shared')).body.toString() === 'v2', 500);
    await other.close();
  });

  test('an earlier version can be activated again', async () => {
    await bench.deploy('rolled', { manifest: { name: 'rolled', access: 'public' } });
    await bench.deploy('rolled', { manifest: { name: 'rolled', access: 'public' } });
    const response = await bench.api('/functions/default/rolled/activate', { json: { version: 1 } });
    expect(response.json()).toMatchObject({ activeVersion: 1, active: { version: 1 } });
    expect((await send(bench.gateway, '/fn/default/rolled')).body.toString()).toBe('v1');
    expect(
      problemOf(await bench.api('/functions/default/rolled/activate', { json: { version: 9 } })),
    ).toEqual([409, 'conflict']);
    expect(
      problemOf(await bench.api('/functions/default/rolled/activate', { json: { version: 'x' } })),
    ).toEqual([400, 'bad_request']);
    expect(((await bench.deploy('rolled')).json() as DeployResult).function.activeVersion).toBe(3);
  });

  test('settings of the function are those of the latest deploy, whichever version is active [DE4]', async () => {
    const name = 'settled';
    const deployed = (manifest: object): Promise<RawResponse> =>
      bench.deploy(name, { manifest: { name, ...manifest } });
    await deployed({ access: 'public', memory: 64 });
    const second = await deployed({ access: 'key', retries: { attempts: 7 }, queueTime: 100, memory: 96 });
    expect(second.json()).toMatchObject({
      function: {
        settings: { access: 'key', queueTime: 100 },
        active: { version: 2, settings: { memory: 96 } },
      },
    });
    const activated = await bench.api(`/functions/default/${name}/activate`, { json: { version: 1 } });
    const { active, settings } = activated.json() as FunctionDetail;
    expect([settings.access, active.version, active.settings.memory]).toEqual(['key', 1, 64]);
    for (const field of ['access', 'retries', 'queueTime']) expect(active.settings).not.toHaveProperty(field);
    // Version 1 was deployed as public. Control: with a key the same call reaches it.
    expect(problemOf(await send(bench.gateway, `/fn/default/${name}`))).toEqual([401, 'unauthorized']);
    const headers = { 'x-api-key': bench.gateway.key };
    expect((await send(bench.gateway, `/fn/default/${name}`, { headers })).body.toString()).toBe('v1');
    await deployed({ access: 'public' });
    const queued = await bench.api(`/functions/default/${name}/invocations`, { json: {} });
    const { id } = queued.json() as Accepted;
    await deployed({ access: 'public', retries: { attempts: 9 } });
    const replayed = await bench.api(`/invocations/${id}/replay`, { json: { version: 1 } });
    expect(replayed.status).toBe(202);
    const again = await bench.api(`/invocations/${(replayed.json() as Accepted).id}`);
    expect(again.json()).toMatchObject({ version: 1, terms: { maxAttempts: 9 } });
  });

  test('a function of an older form is refused until it is removed, and its name is free then [DE6]', async () => {
    const old = { namespace: 'default', name: 'old', activeVersion: 1, createdAt: 0, updatedAt: 0 };
    await bench.gateway.commands.hset(keys.functions('default'), 'old', JSON.stringify(old));
    const deployed = (): Promise<RawResponse> => bench.deploy('old', { manifest: { name: 'old' } });
    const answers = [
      await send(bench.gateway, '/fn/default/old'),
      await bench.api('/functions/default/old'),
      await bench.api('/functions/default'),
      await deployed(),
    ];
    for (const refusal of answers) {
      expect(problemOf(refusal)).toEqual([409, 'function_outdated']);
      expect(refusal.body.toString()).toContain('type: offshoot rm default/old');
    }
    expect((await bench.api('/functions/default/old', { method: 'DELETE' })).status).toBe(204);
    expect((await deployed()).status).toBe(201);
  });

  test('a version that does not load is not activated and leaves nothing, and the old one goes on', async () => {
    await bench.deploy('broken', { manifest: { name: 'broken', access: 'public' } });
    bench.handler = (one) => {
      if (one.header.operation !== 'load') return answer(one);
      // The logs come a moment after the answer, as with a real worker.
      setTimeout(() => {
        const line = { time: 1, level: 'error', text: 'about to fail' };
        void bench.gateway.commands.rpush(keys.logs(one.header.id), JSON.stringify(line));
      }, 100);
      return one.failed('load_error', {
        error: {
          name: 'ReferenceError',
          message: 'x is not defined',
          stack: 'ReferenceError\n at src/index.ts:3:1',
        },
        logBytes: 13,
      });
    };
    const response = await bench.deploy('broken', { manifest: { name: 'broken', access: 'public' } });
    expect(response.status).toBe(422);
    expect(response.json()).toMatchObject({
      error: {
        code: 'load_failed',
        message: expect.stringContaining('x is not defined') as string,
        details: {
          outcome: 'load_error',
          error: { name: 'ReferenceError', stack: expect.stringContaining('src/index.ts:3:1') as string },
          logs: [{ level: 'error', text: 'about to fail' }],
        },
      },
    });
    expect((await send(bench.gateway, '/fn/default/broken')).body.toString()).toBe('v1');
    const detail = (await bench.api('/functions/default/broken')).json() as FunctionDetail;
    expect([detail.activeVersion, detail.versions.map((one) => one.version)]).toEqual([1, [1]]);
    // A version number is never used twice.
    bench.reset();
    expect(((await bench.deploy('broken')).json() as DeployResult).function.activeVersion).toBe(3);
  });

  test('a function whose first version does not load does not exist', async () => {
    bench.handler = (one) => one.failed('load_timeout');
    expect(problemOf(await bench.deploy('stillborn'))).toEqual([422, 'load_failed']);
    expect(problemOf(await bench.api('/functions/default/stillborn'))).toEqual([404, 'function_not_found']);
    expect(await bench.gateway.commands.hlen(keys.versions('default', 'stillborn'))).toBe(0);
  });

  test('a failure of the platform during a deploy is not blamed on the function', async () => {
    bench.handler = (one) => one.failed('platform_error');
    const response = await bench.deploy('blameless');
    expect(problemOf(response)).toEqual([500, 'platform_error']);
    expect(await bench.gateway.commands.hlen(keys.versions('default', 'blameless'))).toBe(0);
  });

  test('of two deploys at the same time the newer wins, whichever is loaded first', async () => {
    await bench.deploy('race');
    const loads: FakeCall[] = [];
    bench.handler = (one) => loads.push(one);
    const older = bench.deploy('race');
    await waitFor(() => loads.length === 1);
    const newer = bench.deploy('race');
    await waitFor(() => loads.length === 2);
    loads[1]?.result({ status: 200, headers: [] });
    expect((await newer).status).toBe(201);
    loads[0]?.result({ status: 200, headers: [] });
    expect(problemOf(await older)).toEqual([409, 'conflict']);
    expect(((await bench.api('/functions/default/race')).json() as FunctionDetail).activeVersion).toBe(3);
  });

  test('a deploy into a new namespace reaches the workers; a key of that namespace may do it, another may not', async () => {
    const own = await bench.newKey('fresh', ['deploy', 'read', 'invoke']);
    const everywhere = await bench.newKey('*', ['deploy']);
    expect(problemOf(await bench.deploy('fn', { namespace: 'fresh', key: everywhere.key }))).toEqual([
      403,
      'forbidden',
    ]);
    const refreshed = bench.worker.refreshed;
    expect((await bench.deploy('fn', { namespace: 'fresh', key: own.key })).status).toBe(201);
    expect(bench.worker.refreshed).toBe(refreshed + 1);
    expect((await bench.deploy('fn2', { namespace: 'fresh', key: everywhere.key })).status).toBe(201);
    expect(problemOf(await bench.api('/functions/default', { key: own.key }))).toEqual([403, 'forbidden']);
    const mine = (await bench.api('/functions', { key: own.key })).json() as {
      functions: { name: string }[];
    };
    expect(mine.functions.map((one) => one.name)).toEqual(['fn', 'fn2']);
  });

  test('a deleted function is gone', async () => {
    await bench.deploy('doomed', { manifest: { name: 'doomed', access: 'public' } });
    await send(bench.gateway, '/fn/default/doomed');
    expect((await bench.api('/functions/default/doomed', { method: 'DELETE' })).status).toBe(204);
    expect((await send(bench.gateway, '/fn/default/doomed')).status).toBe(404);
    expect(problemOf(await bench.api('/functions/default/doomed', { method: 'DELETE' }))).toEqual([
      404,
      'function_not_found',
    ]);
  });
});

describe('an archive', () => {
  test('an archive is stored once and can be asked for', async () => {
    const { digest, bytes } = await packArchive({ 'a.mjs': 'unique to this test' });
    const head = async (): Promise<number> =>
      (await bench.api(`/artifacts/${digest}`, { method: 'HEAD' })).status;
    expect(await head()).toBe(404);
    expect((await bench.api(`/artifacts/${digest}`, { method: 'PUT', body: bytes })).status).toBe(201);
    expect(await head()).toBe(200);
    expect((await bench.api(`/artifacts/${digest}`, { method: 'PUT', body: bytes })).status).toBe(200);
  });

  test('an archive whose bytes do not match the digest is refused', async () => {
    const { digest } = await packArchive({ 'a.mjs': 'x' });
    expect(
      problemOf(await bench.api(`/artifacts/${digest}`, { method: 'PUT', body: Buffer.from('y') })),
    ).toEqual([400, 'digest_mismatch']);
    expect(problemOf(await bench.api('/artifacts/abc', { method: 'PUT', body: Buffer.from('y') }))).toEqual([
      400,
      'bad_request',
    ]);
  });

  test('an archive that announces too many bytes is refused at once', async () => {
    const sent = request({
      host: '127.0.0.1',
      port: bench.gateway.port,
      method: 'PUT',
      path: `/api/v1/artifacts/${'a'.repeat(64)}`,
      headers: {
        authorization: `Bearer ${bench.gateway.key}`,
        'content-length': String(MAX_ARCHIVE_BYTES + 1),
      },
    });
    sent.flushHeaders();
    sent.on('error', () => undefined);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    sent.destroy();
    expect(response.statusCode).toBe(413);
  });

  test('an archive with a path that leads out, or without the entry file, is not deployed', async () => {
    const evil = await bench.upload({ '../evil': 'x' });
    const json = { digest: evil, entryFile: 'index.mjs', manifest: { name: 'evil' } };
    expect(problemOf(await bench.api('/functions/default/evil/versions', { json }))).toEqual([
      400,
      'bad_archive',
    ]);
    const without = await bench.upload({ 'other.mjs': 'x' });
    const response = await bench.api('/functions/default/evil/versions', {
      json: { ...json, digest: without },
    });
    expect(problemOf(response)).toEqual([400, 'bad_archive']);
    expect(response.body.toString()).toContain('index.mjs');
    expect(
      problemOf(
        await bench.api('/functions/default/evil/versions', { json: { ...json, digest: 'b'.repeat(64) } }),
      ),
    ).toEqual([404, 'artifact_not_found']);
  });
});
