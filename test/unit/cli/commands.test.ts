import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { Manifest } from '#contract/functions/manifest.ts';
import { fakeGateway, FUNCTIONS, json, KEY, offshoot, temporaryFolder } from '../../support/cli.ts';

const LOCAL = 'http://127.0.0.1:8787';

test('init makes a function that can be deployed at once, and prints the next two commands', async () => {
  const gateway = await fakeGateway();
  const cwd = temporaryFolder();
  for (const template of ['fetch', 'hono', 'lambda']) {
    const made = await offshoot(['init', `my-${template}`, '-t', template, '--no-install'], { cwd });
    expect(made).toMatchObject({ code: 0, stderr: '' });
    expect(made.stdout).toMatch(/access is public[^]*\n {2}cd my-\w+\n[^]* {2}offshoot deploy\n$/);
    const folder = path.join(cwd, `my-${template}`);
    expect(readdirSync(folder, { recursive: true })).toEqual(
      expect.arrayContaining([
        '.gitignore',
        'README.md',
        'offshoot.json',
        'package.json',
        'src/index.ts',
        'tsconfig.json',
        'types/offshoot.d.ts',
        'types/offshoot.schema.json',
      ]),
    );
    const manifest = Manifest.parse(JSON.parse(readFileSync(path.join(folder, 'offshoot.json'), 'utf8')));
    expect(manifest).toMatchObject({ name: `my-${template}`, access: 'public' });
    const deployed = await offshoot(['deploy', `my-${template}`], { cwd, env: gateway.env });
    if (template === 'hono') {
      expect(deployed.code).toBe(2);
      expect(deployed.stderr).toContain('hono is named in package.json but not installed');
      expect(deployed.stderr).toContain('npm install');
    } else {
      expect(deployed).toMatchObject({ code: 0, stderr: '' });
      expect(deployed.stdout).toContain(`default/my-${template} version 1 is live`);
      expect(deployed.stdout.trimEnd().split('\n').at(-1)).toBe(
        `  curl ${gateway.url}/fn/default/my-${template}`,
      );
    }
  }
});

test('init refuses a bad name and a folder in use', async () => {
  const cwd = temporaryFolder();
  const bad = await offshoot(['init', 'My_Function'], { cwd });
  expect(bad).toMatchObject({ code: 2, stdout: '' });
  expect(bad.stderr).toMatch(/lower-case letters[^]*next: offshoot init my-function\n$/);
  mkdirSync(path.join(cwd, 'used'));
  writeFileSync(path.join(cwd, 'used', 'file'), '');
  const used = await offshoot(['init', 'used'], { cwd });
  expect(used).toMatchObject({ code: 2 });
  expect(used.stderr).toContain('is there already and is not empty');
});

test('deploy uploads once: the second time the gateway has the archive already', async () => {
  const gateway = await fakeGateway();
  const folder = path.join(FUNCTIONS, 'hello-fetch');
  const first = await offshoot(['deploy', folder, '--json'], { env: gateway.env });
  const second = await offshoot(['deploy', folder, '--json'], { env: gateway.env });
  const document = JSON.parse(first.stdout) as { digest: string; uploaded: boolean; curl: string };
  expect(document).toMatchObject({ uploaded: true, curl: `curl ${gateway.url}/fn/default/hello-fetch` });
  expect(JSON.parse(second.stdout)).toMatchObject({ uploaded: false, digest: document.digest });
  const archive = `/api/v1/artifacts/${document.digest}`;
  const deployment = 'POST /api/v1/functions/default/hello-fetch/versions';
  expect(gateway.seen).toEqual([
    `HEAD ${archive}`,
    `PUT ${archive}`,
    deployment,
    `HEAD ${archive}`,
    deployment,
  ]);
});

test('a load failure shows the TypeScript line, the output, and the next step', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('POST /api/v1/functions/default/broken-load/versions', (_request, response) =>
    json(response, 422, {
      error: {
        code: 'load_failed',
        message: 'the function could not be loaded',
        next: 'correct the error at the line shown, then: offshoot deploy',
        details: {
          outcome: 'load_error',
          error: {
            name: 'Error',
            message: 'the variable SETTINGS is not set',
            stack:
              'Error: the variable SETTINGS is not set\n    at readSettings (src/config.ts:8:39)\n    at src/index.ts:3:18',
          },
          logs: [{ time: 1, level: 'log', text: 'reading \u001b[31msettings' }],
        },
      },
    }),
  );
  const ran = await offshoot(['deploy', path.join(FUNCTIONS, 'broken-load')], { env: gateway.env });
  expect(ran).toMatchObject({ code: 1, stdout: '' });
  expect(ran.stderr).toContain('Error: the variable SETTINGS is not set');
  expect(ran.stderr).toContain('at src/config.ts:8:39');
  expect(ran.stderr).toContain('> 8 |   if (text === undefined) throw new Error(');
  expect(ran.stderr).toContain('reading ␛[31msettings');
  expect(ran.stderr.trimEnd().split('\n').at(-1)).toBe(
    'next: correct src/config.ts:8:39, then: offshoot deploy',
  );
});

test('each problem of offshoot.json is named by its field', async () => {
  const cwd = temporaryFolder();
  const deploy = async (text: string): Promise<string> => {
    writeFileSync(path.join(cwd, 'offshoot.json'), text);
    const ran = await offshoot(['deploy'], { cwd });
    expect(ran).toMatchObject({ code: 2, stdout: '' });
    expect(ran.stderr).toMatch(/\nnext: .*offshoot deploy\n$/);
    return ran.stderr;
  };
  const problems = await deploy('{"name":"Bad","memry":64,"timeout":-1,"env":{"1A":"x","B":2}}');
  for (const expected of [
    'name: use lower-case letters',
    'memry: there is no such field; did you mean "memory"?',
    'timeout: Too small',
    'env.1A: use letters, digits and underscores',
    'env.B: Invalid input: expected string',
  ]) {
    expect(problems).toContain(expected);
  }
  const syntax = await deploy('{\n  "name": "a"\n  "memory": 64\n}\n');
  expect(syntax).toContain('offshoot.json:3:3 is not JSON');
  expect(syntax).toContain('> 3 |   "memory": 64');
  expect(await deploy('{"name":"a"}')).toContain('entry: there is no file src/index.ts');
});

test('without a manifest, the error says how to make one', async () => {
  const cwd = temporaryFolder();
  const none = await offshoot(['deploy'], { cwd });
  expect(none).toMatchObject({ code: 2 });
  expect(none.stderr).toMatch(
    /there is no offshoot.json[^]*next: make a new function: offshoot init NAME\n$/,
  );
  writeFileSync(path.join(cwd, 'offshoot.json'), '{}');
  mkdirSync(path.join(cwd, 'src'));
  const below = await offshoot(['deploy', 'src'], { cwd });
  expect(below.stderr.trimEnd()).toMatch(new RegExp(`next: offshoot deploy ${cwd}$`));
});

test('the exit code is 2 for wrong usage, 3 when unreachable, 4 when forbidden; with --json the error is the document', async () => {
  const gateway = await fakeGateway();
  const wrong = await offshoot(['deploy', '--frob']);
  expect(wrong).toMatchObject({ code: 2, stdout: '' });
  expect(wrong.stderr).toMatch(/offshoot deploy has no option --frob\nnext: offshoot help deploy\n$/);
  const away = await offshoot(['list', '--url', 'http://127.0.0.1:9', '--json']);
  expect(away).toMatchObject({ code: 3, stderr: '' });
  expect(JSON.parse(away.stdout)).toMatchObject({ error: { code: 'unreachable' } });
  const refused = await offshoot(['list', '--url', gateway.url, '--key', 'wrong']);
  expect(refused).toMatchObject({ code: 4, stdout: '' });
  expect(refused.stderr).toBe('error: the API key is not known\nnext: sign in: offshoot login\n');
  expect((await offshoot(['help', 'exit-codes'])).stdout).toMatch(
    / {2}0 {2}done\n[^]* {2}4 {2}not signed in/,
  );
  expect((await offshoot(['list', '--url', 'nowhere'])).code).toBe(2);
});

test('login keeps a key that the gateway accepts, for this user only, and the other verbs use it', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('GET /api/v1/functions', (_request, response) => json(response, 200, { functions: [] }));
  const config = temporaryFolder();
  const env = { XDG_CONFIG_HOME: config };
  const bad = await offshoot(['login', '--url', gateway.url, '--key', 'wrong'], { env });
  expect(bad.code).toBe(4);
  expect(readdirSync(config)).toEqual([]);
  const good = await offshoot(['login', '--url', gateway.url], { env, input: `${KEY}\n` });
  expect(good).toMatchObject({ code: 0, stderr: '' });
  const file = path.join(config, 'offshoot/credentials.json');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const listed = await offshoot(['list', '--json'], { env });
  expect(JSON.parse(listed.stdout)).toEqual({ functions: [] });
});

test('the admin key of a platform on this machine is found, and offered to no other address', async () => {
  const { findTarget } = await import('../../../cli/api/credentials.ts');
  const state = temporaryFolder();
  writeFileSync(path.join(state, 'admin-key'), 'local\n');
  const env = { HOME: temporaryFolder(), OFFSHOOT_STATE: state };
  expect(findTarget({}, env)).toEqual({ url: LOCAL, key: 'local', namespace: 'default' });
  expect(findTarget({ url: 'http://127.0.0.1:9999/' }, env)).toMatchObject({ key: 'local' });
  expect(findTarget({ url: 'http://192.0.2.1:8787' }, env).key).toBeUndefined();
  expect(findTarget({ key: 'flag' }, { ...env, OFFSHOOT_API_KEY: 'env' }).key).toBe('flag');
  expect(findTarget({}, { ...env, OFFSHOOT_API_KEY: 'env' }).key).toBe('env');
});

test('a key of an earlier installation at the same address is named as such, with the command that mends it', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('GET /api/v1/functions', (_request, response) => json(response, 200, { functions: [] }));
  const [config, state] = [temporaryFolder(), temporaryFolder()];
  const file = path.join(config, 'offshoot/credentials.json');
  const stale = { current: gateway.url, keys: { [gateway.url]: { key: 'of-yesterday', namespace: '*' } } };
  mkdirSync(path.dirname(file));
  writeFileSync(file, JSON.stringify(stale));
  const env = { XDG_CONFIG_HOME: config, OFFSHOOT_STATE: state };
  const next = `offshoot login --url ${gateway.url}`;
  // Without a key of this machine there is no better advice.
  expect((await offshoot(['list'], { env })).stderr).toBe(
    'error: the API key is not known\nnext: sign in: offshoot login\n',
  );
  writeFileSync(path.join(state, 'admin-key'), `${KEY}\n`);
  const refused = await offshoot(['list'], { env });
  expect(refused).toMatchObject({ code: 4, stdout: '' });
  expect(refused.stderr).toBe(
    `error: the API key is not known\n  the key in ${file} is of another installation, or was removed;\n  that of the platform on this machine is in ${state}/admin-key\nnext: ${next}\n`,
  );
  const machine = await offshoot(['list', '--json'], { env });
  expect(JSON.parse(machine.stdout)).toMatchObject({ error: { code: 'unauthorized', next } });
  // The command that the error names is enough, and asks nothing.
  expect(await offshoot(['login', '--url', gateway.url], { env })).toMatchObject({ code: 0, stderr: '' });
  expect((await offshoot(['list'], { env })).code).toBe(0);
  const inShell = { ...env, OFFSHOOT_API_KEY: 'of-yesterday' };
  expect((await offshoot(['list'], { env: inShell })).stderr).toMatch(
    /the key in OFFSHOOT_API_KEY is of another installation, or was removed;\n.*\nnext: unset OFFSHOOT_API_KEY; offshoot login --url http/,
  );
  // A key given by --key is not taken for one of an earlier installation, and the admin key is not offered in its
  // place.
  expect((await offshoot(['list', '--key', 'typed'], { env })).stderr).toBe(
    'error: the API key is not known\nnext: sign in: offshoot login\n',
  );
});

test('invoke sends an event, prints the body only, and reports the outcome on stderr', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('POST /api/v1/functions/default/add/invoke', (_request, response, body) => {
    response.setHeader('server-timing', 'gateway;dur=0.2, run;dur=1.5');
    json(response, 200, { got: JSON.parse(body.toString()) as unknown }, OK);
  });
  const ran = await offshoot(['invoke', 'add', '--data', '{"a":1}'], { env: gateway.env });
  expect(ran).toMatchObject({ code: 0, stdout: '{"got":{"a":1}}' });
  expect(ran.stderr).toBe('ok 200  inv-1  gateway 0.20 ms  run 1.50 ms\noffshoot trace inv-1\n');
  const asJson = await offshoot(['invoke', 'add', '-d', '-', '--json'], { env: gateway.env, input: '[2]' });
  expect(JSON.parse(asJson.stdout)).toMatchObject({ id: 'inv-1', outcome: 'ok', body: { got: [2] } });
  const bad = await offshoot(['invoke', 'add', '-d', '{oops'], { env: gateway.env });
  expect(bad).toMatchObject({ code: 2, stdout: '' });
});

const OK = { 'x-offshoot-invocation': 'inv-1' };

test('invoke over HTTP passes path, method, headers and body on, and exits with 1 when the function failed', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('PUT /fn/team/echo/a/b', (request, response, body) =>
    json(response, 201, { url: request.url, header: request.headers['x-a'], body: body.toString() }, OK),
  );
  gateway.routes.set('GET /fn/team/echo/', (_request, response) =>
    json(
      response,
      504,
      { error: { code: 'timeout', message: 'echo did not finish within 2 s', next: '' } },
      { ...OK, 'x-offshoot-outcome': 'timeout' },
    ),
  );
  const args = ['invoke', 'team/echo', '-X', 'put', '-p', 'a/b?c=d', '-H', 'X-A: 1', '-d', 'text'];
  const good = await offshoot(args, { env: gateway.env });
  expect(JSON.parse(good.stdout)).toEqual({ url: '/fn/team/echo/a/b?c=d', header: '1', body: 'text' });
  const failed = await offshoot(['invoke', 'team/echo'], { env: gateway.env });
  expect(failed).toMatchObject({ code: 1, stdout: '' });
  expect(failed.stderr).toBe('error: echo did not finish within 2 s\nnext: offshoot trace inv-1\n');
});

test('invoke sends its key only to functions that ask for one', async () => {
  const gateway = await fakeGateway();
  const keys: (string | undefined)[] = [];
  gateway.routes.set('GET /fn/default/open/', (request, response) => {
    keys.push(request.headers.authorization);
    json(response, 401, { mine: true }, OK);
  });
  gateway.routes.set('GET /fn/default/closed/', (request, response) => {
    keys.push(request.headers.authorization);
    if (request.headers.authorization) json(response, 200, {}, OK);
    else json(response, 401, { error: { code: 'unauthorized', message: 'a key is needed', next: '' } });
  });
  const open = await offshoot(['invoke', 'open'], { env: gateway.env });
  expect(open, 'its own 401 is an answer, but no success').toMatchObject({
    code: 5,
    stdout: '{"mine":true}',
  });
  expect(await offshoot(['invoke', 'closed'], { env: gateway.env })).toMatchObject({ code: 0, stdout: '{}' });
  expect(keys).toEqual([undefined, undefined, `Bearer ${KEY}`]);
});

test('rm needs --yes where it cannot ask', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('DELETE /api/v1/functions/default/old', (_request, response) => {
    response.writeHead(204).end();
  });
  const asked = await offshoot(['rm', 'old'], { env: gateway.env });
  expect(asked).toMatchObject({ code: 2 });
  expect(asked.stderr).toMatch(/next: offshoot rm default\/old --yes\n$/);
  expect(gateway.seen).toEqual([]);
  expect(await offshoot(['rm', 'old', '--yes'], { env: gateway.env })).toMatchObject({ code: 0 });
  expect(gateway.seen).toEqual(['DELETE /api/v1/functions/default/old']);
});

test('the JSON Schema of offshoot.json is up to date', async () => {
  const { manifestSchemaText } = await import('../../../infra/generate/schema.ts');
  const file = path.join(FUNCTIONS, '../contract/offshoot.schema.json');
  expect(readFileSync(file, 'utf8'), 'run: node infra/generate/schema.ts').toBe(manifestSchemaText());
});

test('the wrapper finds its checkout through links, and says how to install missing npm packages', async () => {
  const wrapper = path.join(FUNCTIONS, '../cli/offshoot');
  const folder = temporaryFolder();
  symlinkSync(wrapper, path.join(folder, 'first'));
  symlinkSync('first', path.join(folder, 'second'));
  const run = promisify(execFile);
  const env = { PATH: process.env['PATH'] ?? '', HOME: folder };
  expect((await run(path.join(folder, 'second'), ['--version'], { env })).stdout).toMatch(
    /^\d+\.\d+\.\d+\n$/,
  );
  mkdirSync(path.join(folder, 'cli'));
  cpSync(wrapper, path.join(folder, 'cli/offshoot'));
  await expect(run(path.join(folder, 'cli/offshoot'), [], { env })).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('npm run setup') as string,
  });
});

test('a reader that closes the pipe early is no failure', async () => {
  const wrapper = path.join(FUNCTIONS, '../cli/offshoot');
  const ran = await promisify(execFile)('sh', [
    '-c',
    `{ "$0" help deploy; echo "code $?" >&2; } | true`,
    wrapper,
  ]);
  expect(ran.stderr).toBe('code 0\n');
});
