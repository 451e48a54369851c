import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { extract, list } from 'tar';
import { expect, test } from 'vitest';
import { archiveOf, packEntries, type Archive } from '../../../cli/bundle/archive.ts';
import type { Build } from '../../../cli/bundle/terms/build.ts';
import { Bundler } from '../../../cli/bundle/bundle.ts';
import { closure } from '../../../cli/bundle/packages/closure.ts';
import type { Package } from '../../../cli/bundle/packages/packages.ts';
import { packageNameOf } from '../../../cli/bundle/terms/package-name.ts';
import { readProject } from '../../../cli/bundle/project.ts';
import { FUNCTIONS, temporaryFolder } from '../../support/cli.ts';

async function bundleOf(folder: string): Promise<{ bundle: Build; archive: Archive }> {
  const bundler = await Bundler.create(await readProject(folder));
  try {
    const bundle = await bundler.run();
    return { bundle, archive: await archiveOf(bundle) };
  } finally {
    await bundler.dispose();
  }
}

interface Loaded {
  readonly default: { fetch(request: Request, env: object, ctx: object): Promise<Response> };
}

/** Unpacks an archive and imports it, far from the sources and their packages. */
async function load(archive: Archive): Promise<Loaded> {
  const folder = temporaryFolder();
  const file = path.join(folder, 'archive.tar.gz');
  writeFileSync(file, archive.data);
  await extract({ file, cwd: folder });
  return (await import(pathToFileURL(path.join(folder, 'index.mjs')).href)) as Loaded;
}

/** A function in a temporary folder, from path → text. */
function project(files: Record<string, string>): string {
  const folder = temporaryFolder();
  const all = { 'offshoot.json': '{"name":"sample"}', 'package.json': '{}', ...files };
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text);
  }
  return folder;
}

function make(name: string, directory: string, dependencies: string[] = [], fits = true): Package {
  const rest = { optionalPeers: [], optionalDependencies: [], restricted: false };
  return { name, directory, version: '1', dependencies, fits, ...rest };
}

test('the same function gives the same archive, wherever it lies and whenever it is bundled [DE1]', async () => {
  const copies = [temporaryFolder(), temporaryFolder()];
  const archives = [];
  for (const folder of copies) {
    cpSync(path.join(FUNCTIONS, 'native-addon'), folder, { recursive: true });
    archives.push((await bundleOf(folder)).archive);
  }
  expect(archives[0]?.digest).toBe(archives[1]?.digest);
  expect(archives[0]?.digest).toBe(
    createHash('sha256')
      .update(archives[0]?.data ?? '')
      .digest('hex'),
  );
});

test('entries of an archive are sorted and carry no owner, time or odd mode', async () => {
  const archive = await packEntries(
    new Map([
      ['z.txt', { contents: Buffer.from('z'), executable: false }],
      ['a/run', { contents: Buffer.from('a'), executable: true }],
      [`${'long/'.repeat(40)}name.js`, { contents: Buffer.from('l'), executable: false }],
    ]),
  );
  const file = path.join(temporaryFolder(), 'a.tar.gz');
  writeFileSync(file, archive.data);
  const entries: unknown[] = [];
  await list({
    file,
    onReadEntry: ({ path: name, mode, uid, gid, mtime, type }) =>
      entries.push([name.slice(0, 9), mode?.toString(8), uid, gid, mtime?.getTime(), type]),
  });
  expect(entries).toEqual([
    ['a/run', '755', 0, 0, 0, 'File'],
    ['long/long', '644', 0, 0, 0, 'File'],
    ['z.txt', '644', 0, 0, 0, 'File'],
  ]);
  expect([...archive.data.subarray(4, 10)]).toEqual([0, 0, 0, 0, 0, 255]);
});

test('a native package stays a file, with the packages it needs on this platform, and runs', async () => {
  const { bundle, archive } = await bundleOf(path.join(FUNCTIONS, 'native-addon'));
  const names = bundle.packages.map(({ to }) => to);
  expect(names[0]).toBe('node_modules/@node-rs/argon2');
  expect(names[1]).toMatch(/^node_modules\/@node-rs\/argon2-linux-/);
  const { default: sample } = await load(archive);
  const call = async (body: object): Promise<Record<string, unknown>> => {
    const request = new Request('http://x/', { method: 'POST', body: JSON.stringify(body) });
    return (await (await sample.fetch(request, {}, {})).json()) as Record<string, unknown>;
  };
  const { hash } = await call({ password: 'secret' });
  expect(await call({ password: 'secret', hash })).toEqual({ matches: true });
  expect(await call({ password: 'other', hash })).toEqual({ matches: false });
});

test('WebAssembly and text are bundled as bytes and strings', async () => {
  const thumbnail = await load((await bundleOf(path.join(FUNCTIONS, 'thumbnail'))).archive);
  const bad = await thumbnail.default.fetch(new Request('http://x/', { method: 'POST', body: 'no' }), {}, {});
  expect(bad.status).toBe(415);
  const markdown = await load((await bundleOf(path.join(FUNCTIONS, 'markdown'))).archive);
  const request = new Request('http://x/?page', { method: 'POST', body: '# Hi <script>alert(1)</script>' });
  const html = await (await markdown.default.fetch(request, {}, {})).text();
  expect(html).toContain('<h1>Hi </h1>');
  expect(html).toMatch(/^<!doctype html>/);
  expect(html).not.toContain('script>');
});

test('packages that read files beside them or choose modules at run time stay files', async () => {
  const folder = project({
    'src/index.ts':
      "import a from 'reads-file'; import b from 'dynamic'; import c from 'plain'; import d from 'optional'; export default { fetch: () => new Response([a, b('./x'), c, d].join()) };",
    'node_modules/reads-file/package.json':
      '{"name":"reads-file","main":"i.js","dependencies":{"helper":"1"}}',
    'node_modules/reads-file/i.js':
      "module.exports = require('fs').readFileSync(require('path').join(__dirname, 'data.txt'), 'utf8') + require('helper')",
    'node_modules/reads-file/data.txt': 'data',
    'node_modules/helper/package.json': '{"name":"helper"}',
    'node_modules/helper/index.js': "module.exports = '+helped'",
    'node_modules/dynamic/package.json': '{"name":"dynamic"}',
    'node_modules/dynamic/index.js': 'module.exports = (name) => require(name)',
    'node_modules/dynamic/x.js': "module.exports = 'chosen'",
    'node_modules/optional/package.json': '{"name":"optional"}',
    'node_modules/optional/index.js':
      "module.exports = process.env.DRIVER ? require('not-installed') : 'no driver'",
    'node_modules/plain/package.json': '{"name":"plain"}',
    'node_modules/plain/index.js': "module.exports = 'plain in ' + process.env.NODE_ENV",
  });
  const { bundle, archive } = await bundleOf(folder);
  expect(bundle.packages.map(({ to }) => to)).toEqual([
    'node_modules/dynamic',
    'node_modules/helper',
    'node_modules/optional',
    'node_modules/reads-file',
  ]);
  const { default: sample } = await load(archive);
  const response = await sample.fetch(new Request('http://x/'), {}, {});
  expect(await response.text()).toBe('data+helped,chosen,plain in production,no driver');
});

test('the source map holds the sources and names them relative to the function', async () => {
  const { bundle } = await bundleOf(path.join(FUNCTIONS, 'broken-load'));
  const map: unknown = JSON.parse(Buffer.from(bundle.files.get('index.mjs.map') ?? []).toString());
  expect(map).toMatchObject({ sources: ['offshoot:names', 'src/config.ts', 'src/index.ts'] });
  const source = readFileSync(path.join(FUNCTIONS, 'broken-load/src/index.ts'), 'utf8');
  expect((map as { sourcesContent: string[] }).sourcesContent[2]).toBe(source);
});

test('a bundle error names file, line and column and shows the place', async () => {
  await expect(bundleOf(path.join(FUNCTIONS, 'broken-syntax'))).rejects.toMatchObject({
    exitCode: 2,
    message: 'the function cannot be bundled: Unexpected ";"',
    lines: expect.arrayContaining([
      'src/index.ts:3:20: Unexpected ";"',
      '> 3 |     const answer = ;',
      '    |                    ^',
    ]) as string[],
    next: 'correct src/index.ts:3:20, then: offshoot deploy',
  });
});

test('an import of a file of an unknown ending says how it becomes text, and does', async () => {
  const source = (attribute: string): string =>
    `import text from './x.hbs'${attribute}; export default { fetch: () => new Response(text) };`;
  const folder = project({ 'src/index.ts': source(''), 'src/x.hbs': 'Dear {{name}}' });
  await expect(bundleOf(folder)).rejects.toMatchObject({
    next: "add to the import of src/x.hbs: with { type: 'text' }, then: offshoot deploy",
  });
  writeFileSync(path.join(folder, 'src/index.ts'), source(" with { type: 'text' }"));
  const { default: sample } = await load((await bundleOf(folder)).archive);
  const response = await sample.fetch(new Request('http://x/'), {}, {});
  expect(await response.text()).toBe('Dear {{name}}');
});

test('an import of a missing package says how to install it', async () => {
  const folder = project({ 'src/index.ts': "import x from 'absent/sub'; export default x;" });
  await expect(bundleOf(folder)).rejects.toMatchObject({
    next: `(cd ${folder} && npm install absent) && offshoot deploy ${folder}`,
  });
});

test('an archive over the limit is refused before it is sent, and the largest files are named', async () => {
  const big = { contents: Buffer.alloc(251 * 1024 * 1024), executable: false };
  await expect(packEntries(new Map([['big.bin', big]]))).rejects.toMatchObject({
    code: 'archive_too_large',
    lines: expect.arrayContaining([expect.stringContaining('big.bin')]) as string[],
  });
});

test('imports are reduced to names of packages', () => {
  expect(packageNameOf('hono/cors')).toBe('hono');
  expect(packageNameOf('@a/b/c')).toBe('@a/b');
  expect(packageNameOf('@a/b')).toBe('@a/b');
  for (const other of ['./a', '../a', '/a', '#a', 'node:fs', '@a'])
    expect(packageNameOf(other)).toBeUndefined();
});

test('the closure has the versions that each package would find: one at the top, others below their owner', () => {
  const installed = new Map(
    [
      make('a', '/p/a', ['b', 'c', 'absent', 'win']),
      make('b', '/p/b', ['c']),
      make('c', '/p/c', ['a']),
      make('c', '/p/b/c', ['d']),
      make('d', '/p/d'),
      make('win', '/p/win', [], false),
    ].map((found) => [found.directory, found]),
  );
  const lookup = (name: string, from: string): Package | undefined =>
    installed.get(`${from}/${name}`) ?? installed.get(`/p/${name}`);
  const root = { to: 'node_modules/a', package: make('a', '/p/a', ['b', 'c', 'absent', 'win']) };
  expect(closure([root], lookup, () => true).map(({ to, package: found }) => [to, found.directory])).toEqual([
    ['node_modules/a', '/p/a'],
    ['node_modules/b', '/p/b'],
    ['node_modules/b/node_modules/c', '/p/b/c'],
    ['node_modules/c', '/p/c'],
    ['node_modules/d', '/p/d'],
  ]);
});
