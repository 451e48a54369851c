/**
 * Rights of keys: requests made from the API's own document, and keys without the right, get nothing of another tenant.
 */
import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { presentedKey } from '../../../gateway/functions/access.ts';
import { Platform } from '../../support/platform/platform.ts';
import { packed, sha256, type Entry } from '../abuse/archives.ts';
import { deployArchive } from '../abuse/platform.ts';
import { percentile } from '../../support/platform/stopwatch.ts';
import { head, raw } from './raw.ts';

/** Names and values that exist only in the victim's namespace. */
const CANARY = `canary${randomBytes(8).toString('hex')}`;
const VICTIM = 'victim';
const TENANT = 'tenant';

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

interface Document {
  readonly paths: Record<
    string,
    Record<string, { requestBody?: { content: Record<string, { schema: unknown }> } }>
  >;
}

let platform: Platform;
let operations: Operation[] = [];
let victimDigest = '';
let victimInvocation = '';
let victimKeyId = '';
const keys: Record<'tenant' | 'reader' | 'invoker' | 'deleted', string> = {
  tenant: '',
  reader: '',
  invoker: '',
  deleted: '',
};

async function makeKey(namespace: string, scopes: readonly string[]): Promise<{ id: string; key: string }> {
  const made = await platform.api('/keys', { method: 'POST', body: JSON.stringify({ namespace, scopes }) });
  expect(made.status).toBe(201);
  return (await made.json()) as { id: string; key: string };
}

beforeAll(async () => {
  platform = await Platform.start();
  const source = `export default { fetch: () => { console.log('${CANARY}'); return new Response('${CANARY}'); } };`;
  const entries: Entry[] = [[{ name: 'index.mjs' }, source]];
  const archive = await packed(entries);
  victimDigest = sha256(archive);
  const manifest = { access: 'key', env: { CANARY } };
  expect(await deployArchive(platform, CANARY, archive, manifest, VICTIM)).toBeUndefined();
  expect(await deployArchive(platform, 'own', archive, { env: {} }, TENANT)).toBeUndefined();
  const called = await fetch(`${platform.url}/fn/${VICTIM}/${CANARY}`, {
    headers: { 'x-api-key': platform.key },
  });
  expect(await called.text()).toBe(CANARY);
  victimInvocation = called.headers.get('x-offshoot-invocation') ?? '';
  await platform.record(called);
  keys.tenant = (await makeKey(TENANT, ['deploy', 'read', 'invoke'])).key;
  keys.reader = (await makeKey(VICTIM, ['read'])).key;
  keys.invoker = (await makeKey(VICTIM, ['invoke'])).key;
  victimKeyId = (await makeKey(VICTIM, ['deploy', 'read', 'invoke'])).id;
  const deleted = await makeKey(VICTIM, ['deploy', 'read', 'invoke']);
  keys.deleted = deleted.key;
  expect((await platform.api(`/keys/${deleted.id}`, { method: 'DELETE' })).status).toBe(204);

  const document = (await (await platform.api('/openapi.json')).json()) as Document;
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { requestBody }]) => {
      return { method: method.toUpperCase(), path, body: requestBody?.content['application/json']?.schema };
    }),
  );
}, 90_000);
afterAll(() => platform.stop());

function send(key: string | undefined, method: string, path: string, body?: string): Promise<Response> {
  return fetch(`${platform.url}${path}`, {
    method,
    headers: {
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
      'content-type': 'application/json',
    },
    ...(body !== undefined && method !== 'GET' && method !== 'HEAD' && { body }),
    signal: AbortSignal.timeout(20_000),
  });
}

/** The victim still has everything. */
async function expectVictimUnharmed(): Promise<void> {
  const found = await platform.api(`/functions/${VICTIM}/${CANARY}`);
  expect(found.status).toBe(200);
  expect(await found.json()).toMatchObject({ activeVersion: 1 });
  const known = await (await platform.api('/keys')).text();
  expect(known).toContain(victimKeyId);
  const called = await fetch(`${platform.url}/fn/${VICTIM}/${CANARY}`, {
    headers: { 'x-api-key': platform.key },
  });
  expect(await called.text()).toBe(CANARY);
}

describe('G1', () => {
  /** Names that exist, names that do not, and values that are no names. */
  const part = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(VICTIM, TENANT, 'own', CANARY, 'default', '*') },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        '..',
        '.',
        '%2e%2e',
        '%00',
        '__proto__',
        'constructor',
        '%ff',
        '%',
        ' ',
        '~',
      ),
    },
    { weight: 2, arbitrary: fc.string({ minLength: 1, maxLength: 40 }).map(encodeURIComponent) },
    {
      weight: 1,
      arbitrary: fc
        .string({ unit: 'binary', minLength: 1, maxLength: 20 })
        .map((text) => encodeURIComponent(text.toWellFormed())),
    },
    { weight: 1, arbitrary: fc.integer({ min: 64, max: 3_000 }).map((length) => 'n'.repeat(length)) },
  );
  const known = (name: string): fc.Arbitrary<string> =>
    name === 'digest'
      ? fc.oneof(part, fc.constantFrom(victimDigest, '0'.repeat(64)))
      : name === 'id'
        ? fc.oneof(part, fc.constantFrom(victimInvocation, victimKeyId))
        : part;

  /** A value that roughly fits a schema: each part of it may also be any other value. */
  function fitting(schema: unknown): fc.Arbitrary<unknown> {
    const anything = fc.jsonValue({ maxDepth: 3 });
    const given = (schema ?? {}) as {
      type?: string;
      properties?: Record<string, unknown>;
      enum?: unknown[];
      items?: unknown;
    };
    let fits: fc.Arbitrary<unknown> = anything;
    if (given.enum) fits = fc.constantFrom(...given.enum);
    else if (given.type === 'object' && given.properties) {
      const parts = Object.entries(given.properties).map(([name, inner]) => [name, fitting(inner)] as const);
      fits = fc.record(Object.fromEntries(parts), { requiredKeys: [] });
    } else if (given.type === 'array') fits = fc.array(fitting(given.items), { maxLength: 4 });
    else if (given.type === 'string')
      fits = fc.oneof(part, fc.constantFrom(victimDigest, 'index.mjs', '../../etc/passwd', '\ud800'));
    else if (given.type === 'integer' || given.type === 'number') fits = fc.oneof(fc.integer(), fc.double());
    else if (given.type === 'boolean') fits = fc.boolean();
    return fc.oneof({ weight: 6, arbitrary: fits }, { weight: 1, arbitrary: anything });
  }

  function requests(): fc.Arbitrary<{ method: string; path: string; body?: string }> {
    return fc.constantFrom(...operations).chain(({ method, path, body }) => {
      const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
      const filled = fc
        .tuple(...names.map(known))
        .map((parts) =>
          names.reduce((text, name, index) => text.replace(`{${name}}`, () => parts[index] ?? ''), path),
        );
      const query = fc.oneof(
        fc.constant(''),
        fc.constantFrom(
          `?namespace=${VICTIM}`,
          `?namespace=${VICTIM}&name=${CANARY}`,
          '?limit=1e9',
          '?limit=-1',
          '?since=99999999999999999999',
          '?follow=0&since=0',
        ),
        fc.webQueryParameters().map((text) => `?${text}`),
      );
      const sent = fc.oneof(
        { weight: 8, arbitrary: fitting(body).map((value) => JSON.stringify(value)) },
        { weight: 1, arbitrary: fc.string({ maxLength: 200 }) },
      );
      const verb = fc.oneof(
        { weight: 8, arbitrary: fc.constant(method) },
        { weight: 1, arbitrary: fc.constantFrom('PUT', 'PATCH', 'OPTIONS', 'DELETE') },
      );
      return fc.record({
        method: verb,
        path: fc.tuple(filled, query).map(([first, second]) => first + second),
        body: sent,
      });
    });
  }

  test('G1 api-fuzz: the document has operations to try', () => {
    expect(operations.length).toBeGreaterThan(15);
    expect(operations.filter(({ body }) => body !== undefined).length).toBeGreaterThan(2);
  });

  test.each<readonly [string, 'tenant' | 'deleted' | undefined, number]>([
    ['with the key of another tenant', 'tenant', 1_000],
    ['with a key that was deleted', 'deleted', 200],
    ['without a key', undefined, 200],
  ])(
    'G1 api-fuzz: %s, no server error, nothing of the victim is read or deleted [GW1]',
    async (_, who, runs) => {
      await fc.assert(
        fc.asyncProperty(requests(), async ({ method, path, body }) => {
          const response = await send(who && keys[who], method, path, body);
          const text = await response.text();
          // 503 means that Redis or workers are away, and they are not.
          expect(response.status).toBeLessThan(500);
          // The answer may repeat names that the request itself contained.
          if (!`${path}${body ?? ''}`.includes(CANARY)) expect(text).not.toContain(CANARY);
          expect(text).not.toContain('"env":{"CANARY"');
          if (who !== 'tenant' && !path.startsWith('/healthz'))
            expect(response.status).toBeGreaterThanOrEqual(400);
        }),
        // The seed makes a failure repeatable; a new seed each day would make it a surprise.
        { numRuns: runs, seed: 20_260_101 },
      );
      await expectVictimUnharmed();
    },
    120_000,
  );
});

describe('G5', () => {
  const routes = (): readonly (readonly [string, string, string?])[] => [
    ['GET', `/api/v1/functions/${VICTIM}`],
    ['GET', `/api/v1/functions/${VICTIM}/${CANARY}`],
    ['GET', `/api/v1/functions/${VICTIM}/${CANARY}/logs`],
    ['GET', `/api/v1/invocations?namespace=${VICTIM}`],
    ['DELETE', `/api/v1/functions/${VICTIM}/${CANARY}`],
    ['POST', `/api/v1/functions/${VICTIM}/${CANARY}/activate`, '{"version":1}'],
    ['POST', `/api/v1/functions/${VICTIM}/${CANARY}/invoke`, '{}'],
    [
      'POST',
      `/api/v1/functions/${VICTIM}/new/versions`,
      `{"digest":"${victimDigest}","entryFile":"index.mjs","manifest":{"name":"new"}}`,
    ],
    ['GET', '/api/v1/keys'],
    ['POST', '/api/v1/keys', '{"namespace":"*","scopes":["admin"]}'],
    ['DELETE', `/api/v1/keys/${victimKeyId}`],
    ['GET', `/fn/${VICTIM}/${CANARY}`],
    ['POST', `/fn/${VICTIM}/${CANARY}`, 'x'],
  ];

  test.each<readonly [string, () => Record<string, string>]>([
    ['no key', () => ({})],
    ['a wrong key', () => ({ authorization: `Bearer osk_${randomBytes(32).toString('base64url')}` })],
    ['a key that was deleted', () => ({ authorization: `Bearer ${keys.deleted}` })],
    ['the key of another tenant', () => ({ authorization: `Bearer ${keys.tenant}` })],
    [
      'a key with another last letter',
      () => ({ 'x-api-key': `${platform.key.slice(0, -1)}${platform.key.endsWith('A') ? 'B' : 'A'}` }),
    ],
    ['the beginning of a key', () => ({ 'x-api-key': platform.key.slice(0, -1) })],
    ['a key and more', () => ({ 'x-api-key': `${platform.key}x` })],
    ['a key in the wrong case', () => ({ authorization: `Bearer ${platform.key.toUpperCase()}` })],
    ['the hash of a key', () => ({ authorization: `Bearer osk_${sha256(Buffer.from(platform.key))}` })],
    ['a key as another scheme', () => ({ authorization: `Basic ${platform.key}` })],
    ['a key in a cookie', () => ({ cookie: `authorization=${platform.key}; x-api-key=${platform.key}` })],
    ['two keys in one header', () => ({ 'x-api-key': `osk_wrong, ${platform.key}` })],
    ['a key that is a pattern', () => ({ authorization: 'Bearer osk_*' })],
  ])('G5 auth: %s, refused with 401 or 403 on every route of the victim', async (_, headers) => {
    for (const [method, path, body] of routes()) {
      const response = await fetch(`${platform.url}${path}`, {
        method,
        headers: { ...headers(), ...(body !== undefined && { 'content-type': 'application/json' }) },
        ...(body !== undefined && { body }),
      });
      expect({ method, path, status: response.status }).toEqual({
        method,
        path,
        status: expect.toSatisfy((code: number) => code === 401 || code === 403) as number,
      });
      await response.text();
    }
    await expectVictimUnharmed();
  });

  test('G5 auth: a key in the query is ignored, and the existence of another tenant’s invocation is not revealed', async () => {
    const inQuery = await send(
      undefined,
      'GET',
      `/api/v1/keys?x-api-key=${platform.key}&authorization=Bearer%20${platform.key}`,
    );
    expect(inQuery.status).toBe(401);
    const foreign = await send(keys.tenant, 'GET', `/api/v1/invocations/${victimInvocation}`);
    const missing = await send(
      keys.tenant,
      'GET',
      '/api/v1/invocations/01900000-0000-7000-8000-000000000000',
    );
    expect([foreign.status, missing.status]).toEqual([404, 404]);
    expect(await foreign.text()).not.toContain(CANARY);
  });

  test.each([
    ['reader', 403, ['DELETE', 'POST']],
    ['invoker', 403, ['DELETE', 'GET']],
  ] as const)(
    'G5 auth: a key of the victim with the scope of a %s does only what its scope allows',
    async (who, status, methods) => {
      const tried = routes().filter(
        ([verb, target]) =>
          (methods as readonly string[]).includes(verb) &&
          target.startsWith('/api') &&
          !target.endsWith('/invoke'),
      );
      expect(tried.length).toBeGreaterThan(1);
      for (const [method, path, body] of tried) {
        const response = await send(keys[who], method, path, body);
        expect({ method, path, status: response.status }).toEqual({ method, path, status });
        await response.text();
      }
      await expectVictimUnharmed();
    },
  );

  test('G5 auth: a key that is nearly right takes as long to refuse as any other wrong key', async () => {
    // Keys are found by their hash, so the time reveals nothing about a partly right key. The calls are interleaved, so
    // that other work of this machine affects both; each key is new, since unknown keys are remembered for a moment.
    const near: number[] = [];
    const far: number[] = [];
    const timed = async (key: string, into: number[]): Promise<void> => {
      const start = performance.now();
      const response = await send(key, 'GET', '/api/v1/whoami');
      await response.text();
      into.push(performance.now() - start);
      expect(response.status).toBe(401);
    };
    for (let round = 0; round < 500; round++) {
      await timed(platform.key.slice(0, -4) + randomBytes(3).toString('base64url'), near);
      await timed(`osk_${randomBytes(32).toString('base64url')}`, far);
    }
    const ratio = percentile(near, 50) / percentile(far, 50);
    expect(ratio).toBeGreaterThan(0.8);
    expect(ratio).toBeLessThan(1.25);
  }, 60_000);

  test('G5 auth: a text too long for a key is not taken for one, and so not remembered as an unknown key', async () => {
    const long = `osk_${'k'.repeat(20_000)}`;
    expect(presentedKey({ 'x-api-key': long })).toBeUndefined();
    expect(presentedKey({ authorization: `Bearer ${long}` })).toBeUndefined();
    expect(presentedKey({ 'x-api-key': platform.key })?.key).toBe(platform.key);
    const { status } = await raw(platform, head('GET /api/v1/whoami', [`x-api-key: ${long}`]));
    expect(status).toBe(401);
  });
});
