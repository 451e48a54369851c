/** K6: the environment of a function, and the variables that Node reads only when it starts. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Manifest, manifestProblems } from '#contract/functions/manifest.ts';
import { BASE_ENVIRONMENT } from '#contract/functions/start-variables.ts';
import { NODE_RUNTIMES } from '../../support/runtime/node-runtimes.ts';
import { SandboxBench, type StartOptions } from '../../support/sandbox/sandbox-bench.ts';

const SOURCE = `
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { debuglog } from 'node:util';
debuglog('app')('from debuglog %d', 7);
const paths = {
  '/env': (env) => ({ seen: process.env, given: env }),
  '/child': () => JSON.parse(execFileSync('node', ['-p', 'JSON.stringify(process.env)'], { encoding: 'utf8' })),
  '/paths': () => [path.join(process.env.HOME, '.cache'), os.homedir(), os.tmpdir(), os.userInfo().username],
  '/locale': () => [(1234.5).toLocaleString().replaceAll(/\\s/g, ' '), Intl.DateTimeFormat().resolvedOptions().locale, ['z', 'ä', 'a'].toSorted((a, b) => a.localeCompare(b))],
  '/zone': () => [Intl.DateTimeFormat().resolvedOptions().timeZone, new Date(0).getHours()],
  '/options': () => [globalThis.imported, globalThis.required, Error.stackTraceLimit, process.execArgv],
  '/trust': async () => {
    const server = https.createServer({ key: fs.readFileSync('/var/task/key.pem'), cert: fs.readFileSync('/var/task/own.pem') }, (_, res) => res.end('trusted'));
    await once(server.listen(0), 'listening');
    const answer = await fetch('https://localhost:' + server.address().port).then((r) => r.text(), (error) => error.cause.code);
    server.close();
    return [answer, tls.getCACertificates('default').length - tls.rootCertificates.length];
  },
  '/debug': () => [debuglog('app').enabled, debuglog('other').enabled],
};
export default { fetch: async (request, env) => Response.json(await paths[new URL(request.url).pathname](env)) };`;

function certificate(): Record<string, Buffer> {
  const folder = mkdtempSync(path.join(tmpdir(), 'offshoot-certificate-'));
  const [key, own] = [path.join(folder, 'key.pem'), path.join(folder, 'own.pem')];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync('openssl', ['req', ...kind, ...subject, '-keyout', key, '-out', own], { stdio: 'ignore' });
  const files = { 'key.pem': readFileSync(key), 'own.pem': readFileSync(own) };
  rmSync(folder, { recursive: true });
  return files;
}

const OPTIONS = '--import ./imported.mjs --require "./required.cjs" --stack-trace-limit=3';

for (const runtime of NODE_RUNTIMES) {
  describe(runtime, () => {
    let bench: SandboxBench;
    let code: string;
    beforeAll(async () => {
      bench = await SandboxBench.open(runtime);
      code = await bench.addCode(SOURCE, {
        ...certificate(),
        'imported.mjs': Buffer.from("globalThis.imported = 'by NODE_OPTIONS';"),
        'required.cjs': Buffer.from("globalThis.required = 'after ' + globalThis.imported;"),
      });
    });
    afterAll(() => bench.close());
    const ask = async (
      path_: string,
      env: StartOptions['env'] = {},
    ): Promise<[answer: unknown, said: string]> => {
      const one = await bench.start(code, true, { env, memoryMb: 256 });
      try {
        return [JSON.parse((await one.call(path_)).text), one.said()];
      } finally {
        await one.end();
      }
    };

    test(`K6 B45 every function has the documented environment, and its own variables override it, on ${runtime} [MA2]`, async () => {
      const own = { HOME: '/var/task', GREETING: 'hello' };
      expect((await ask('/env', own))[0]).toEqual({ seen: { ...BASE_ENVIRONMENT, ...own }, given: own });
      expect((await ask('/child', own))[0]).toEqual({ ...BASE_ENVIRONMENT, ...own });
      expect((await ask('/paths'))[0]).toEqual(['/tmp/.cache', '/tmp', '/tmp', 'sandbox']);
    });

    test(`K6 B42 the language of Intl is that of LC_ALL or LANG on ${runtime}`, async () => {
      expect((await ask('/locale', { LC_ALL: 'de_DE.UTF-8' }))[0]).toEqual([
        '1.234,5',
        'de-DE',
        ['a', 'ä', 'z'],
      ]);
      expect((await ask('/locale', { LANG: 'sv_SE.UTF-8' }))[0]).toEqual([
        '1 234,5',
        'sv-SE',
        ['a', 'z', 'ä'],
      ]);
      expect((await ask('/locale'))[0]).toEqual(['1,234.5', 'en-US', ['a', 'ä', 'z']]);
    });

    test(`K6 TZ is the zone of the function, and UTC without it, on ${runtime}`, async () => {
      expect((await ask('/zone', { TZ: 'Asia/Tokyo' }))[0]).toEqual(['Asia/Tokyo', 9]);
      expect((await ask('/zone'))[0]).toEqual(['UTC', 0]);
    });

    test(`K6 B42 modules and options of NODE_OPTIONS take effect before the function loads on ${runtime}`, async () => {
      const [seen] = await ask('/options', { NODE_OPTIONS: OPTIONS });
      expect(seen).toEqual(['by NODE_OPTIONS', 'after by NODE_OPTIONS', 3, []]);
    });

    test(`K6 B42 NODE_EXTRA_CA_CERTS adds to the certificates that are trusted on ${runtime}`, async () => {
      expect((await ask('/trust'))[0]).toEqual(['DEPTH_ZERO_SELF_SIGNED_CERT', 0]);
      expect((await ask('/trust', { NODE_EXTRA_CA_CERTS: 'own.pem' }))[0]).toEqual(['trusted', 1]);
    });

    test(`K6 B42 NODE_DEBUG switches debuglog() on for its sections on ${runtime}`, async () => {
      const [seen, said] = await ask('/debug', { NODE_DEBUG: 'app' });
      expect(seen).toEqual([true, false]);
      expect(said).toContain('APP 1: from debuglog 7');
      expect((await ask('/debug'))[0]).toEqual([false, false]);
    });
  });
}

const refusal = (env: Record<string, string>): string | undefined => {
  const read = Manifest.safeParse({ name: 'x', env });
  return read.success ? undefined : manifestProblems(read.error).join('\n');
};

test('K6 B42 a variable that has no effect in a sandbox is refused at deploy, by its name and with the way out', () => {
  for (const name of [
    'NODE_V8_COVERAGE',
    'SSL_CERT_FILE',
    'NODE_PENDING_DEPRECATION',
    'NODE_ICU_DATA',
    'LD_PRELOAD',
  ])
    expect(refusal({ [name]: '1' }), name).toMatch(new RegExp(`^env\\.${name}: .{10}`));
  expect(refusal({ NODE_OPTIONS: '--max-old-space-size=64' })).toContain('--max-old-space-size is no option');
  expect(refusal({ NODE_OPTIONS: OPTIONS })).toBeUndefined();
  expect(
    refusal({ constructor: '1', UV_THREADPOOL_SIZE: '8', NODE_TLS_REJECT_UNAUTHORIZED: '0' }),
  ).toBeUndefined();
});

test('K6 B42 a time zone of nonsense is refused at deploy; each that Intl takes is not', () => {
  expect(refusal({ TZ: 'Nonsense/Zone' })).toContain('env.TZ: not a time zone');
  for (const zone of ['Asia/Kolkata', 'Europe/Kyiv', 'UTC', 'Etc/UTC', 'GMT', ':UTC', 'EST'])
    expect(refusal({ TZ: zone }), zone).toBeUndefined();
});
