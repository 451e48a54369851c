/** K4: packages come into the archive as they are on the disk, and what cannot run on the platform is refused with the way out. */
import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CliError } from '../../../cli/terminal/errors.ts';
import { RealBench, type Files, type RealProject } from '../../support/real/project.ts';

let bench: RealBench;
beforeAll(async () => {
  bench = await RealBench.open();
});
afterAll(async () => {
  await bench.close();
});

const FETCH = (value: string): string =>
  `export default { fetch: async () => new Response(String(${value})) };`;

interface Case {
  readonly title: string;
  readonly files: Files;
  readonly packages?: readonly string[];
  readonly settings?: { entry?: string; files?: string[]; packages?: string[] };
  /** Done after the installation. */
  readonly prepare?: (project: RealProject) => void;
  /** Paths that the archive must have, and must not have. */
  readonly has?: readonly string[];
  readonly hasNot?: readonly RegExp[];
  readonly memoryMb?: number;
  readonly warns?: number;
}

/** A package of the workspace, linked into node_modules as npm does it. */
const link =
  (name: string, folder: string) =>
  ({ folder: root }: RealProject): void => {
    mkdirSync(path.join(root, 'node_modules', path.dirname(name)), { recursive: true });
    symlinkSync(path.join(root, folder), path.join(root, 'node_modules', name));
  };

const BCRYPT =
  "import bcrypt from 'bcrypt'; export const check = () => bcrypt.compareSync('x', bcrypt.hashSync('x', 4));";

const CASES: readonly Case[] = [
  {
    title: 'B32 typescript 5 reads its *.d.ts',
    packages: ['typescript@5.9.3'],
    memoryMb: 1024,
    files: {
      'src/index.ts': `import ts from 'typescript';
const check = () => { const program = ts.createProgram(['/tmp/a.ts'], { noEmit: true, types: [] }); return ts.getPreEmitDiagnostics(program).map((one) => one.code); };
import { writeFileSync } from 'node:fs';
${FETCH("(writeFileSync('/tmp/a.ts', 'export const a: string = 1;'), check())")}`,
    },
  },
  {
    title: 'B32 a package reads a map, a declaration and a hidden folder beside itself',
    files: {
      'node_modules/ownmap/package.json': '{"name":"ownmap"}',
      'node_modules/ownmap/index.js':
        "const read = (f) => require('fs').readFileSync(require('path').join(__dirname, f), 'utf8'); module.exports = () => read('world.map') + read('lib.d.ts') + read('.data/x')",
      'node_modules/ownmap/world.map': 'map',
      'node_modules/ownmap/lib.d.ts': 'declare const x: 1;',
      'node_modules/ownmap/.data/x': 'hidden',
      'src/index.js': `import own from 'ownmap'; ${FETCH('own()')}`,
    },
    settings: { entry: 'src/index.js' },
  },
  {
    title: 'B34 pino transports by name, beside an import of the same package or not',
    packages: ['pino@10.4.0', 'pino-pretty@13.2.0'],
    files: {
      'src/index.ts': `import pino from 'pino'; import { readFileSync, rmSync } from 'node:fs'; import { once } from 'node:events';
const run = async () => {
  for (const one of ['a', 'b']) rmSync(\`/tmp/\${one}.log\`, { force: true });
  const alive = setInterval(() => undefined, 1000);
  const transport = pino.transport({ targets: [{ target: 'pino-pretty', options: { destination: '/tmp/a.log', colorize: false, ignore: 'pid,hostname,time' } }, { target: 'pino/file', options: { destination: '/tmp/b.log' } }] });
  const log = pino({ base: null, timestamp: false }, transport); await once(transport, 'ready'); log.info('hello'); transport.end(); await once(transport, 'close'); clearInterval(alive);
  return readFileSync('/tmp/a.log', 'utf8') + readFileSync('/tmp/b.log', 'utf8');
};
${FETCH('await run()')}`,
    },
    has: ['node_modules/pino-pretty/package.json'],
  },
  {
    title: 'B38 packages by variable, by "packages"',
    packages: ['ms@2.1.3', 'hono@4.10.7'],
    settings: { packages: ['ms', 'ho*'] },
    files: {
      'src/index.ts': `const names = ['m' + 's', 'ho' + 'no'];
${FETCH("(await import(names[0]!)).default('2 days') + typeof (await import(names[1]!)).Hono")}`,
    },
  },
  {
    title: 'B38 a package that requires another one by its setting',
    packages: ['knex@3.1.0', 'pg@8.16.3'],
    files: {
      'src/index.ts': `import knex from 'knex';
${FETCH("knex({ client: 'pg' }).select('a').from('b').where({ c: 1 }).toString()")}`,
    },
    has: ['node_modules/pg/package.json'],
  },
  {
    title: 'B36 "files": globs, a folder, what "!" leaves out, code with imports',
    packages: ['ms@2.1.3'],
    settings: {
      files: ['assets', 'jobs/**', 'one-*.txt', '!assets/draft', '!node_modules/ms/readme.md'],
      packages: ['ms'],
    },
    files: {
      'assets/a.txt': 'a',
      'assets/.hidden': 'h',
      'assets/draft/b.txt': 'b',
      'one-1.txt': '1',
      'jobs/x.ts': "import ms from 'ms'; export default (): string => ms(60000);",
      'src/index.ts': `import { existsSync, readFileSync } from 'node:fs';
const file = (name: string) => process.cwd() + '/' + name; const job = file(['jobs', 'x.ts'].join('/'));
${FETCH("readFileSync(file(['assets', 'a.txt'].join('/')), 'utf8') + existsSync(file(['assets', '.hidden'].join('/'))) + readFileSync(file('one-' + '1.txt')) + (await import(job)).default()")}`,
    },
    hasNot: [/draft/, /^node_modules\/ms\/readme/],
  },
  {
    title: 'B33 two versions of one native package, each for its importer',
    packages: ['bcrypt@6.0.0'],
    files: {
      'node_modules/one/package.json': '{"name":"one","dependencies":{"deep":"1"}}',
      'node_modules/one/index.js': "module.exports = require('deep') + require('deep/sub')",
      'node_modules/one/node_modules/deep/package.json': '{"name":"deep","version":"1.0.0"}',
      'node_modules/one/node_modules/deep/index.js':
        "module.exports = require('fs').readFileSync(__dirname + '/v.txt', 'utf8')",
      'node_modules/one/node_modules/deep/sub.js': "module.exports = 'sub1' + require('deep')",
      'node_modules/one/node_modules/deep/v.txt': 'v1',
      'node_modules/deep/package.json': '{"name":"deep","version":"2.0.0"}',
      'node_modules/deep/index.js':
        "module.exports = require('fs').readFileSync(__dirname + '/v.txt', 'utf8')",
      'node_modules/deep/sub.js': "module.exports = 'sub2'",
      'node_modules/deep/v.txt': 'v2',
      'src/index.ts': `import deep from 'deep'; import one from 'one'; import sub from 'deep/sub.js'; ${FETCH('deep + one + sub')}`,
    },
  },
  {
    title: 'B40 a workspace package in TypeScript with a native dependency is bundled',
    packages: ['bcrypt@6.0.0'],
    prepare: link('@acme/db', 'packages/db'),
    files: {
      'packages/db/package.json':
        '{"name":"@acme/db","type":"module","exports":"./src/index.ts","dependencies":{"bcrypt":"6"}}',
      'packages/db/src/index.ts': `${BCRYPT} export const kind: string = 'ts';`,
      'src/index.ts': `import { check, kind } from '@acme/db'; ${FETCH('check() + kind')}`,
    },
    has: ['node_modules/bcrypt/package.json'],
    hasNot: [/@acme/],
  },
  {
    title: 'B40 a workspace package that reads a file beside itself, TypeScript',
    prepare: link('@acme/tpl', 'packages/tpl'),
    files: {
      'packages/tpl/package.json': '{"name":"@acme/tpl","type":"module","exports":"./src/index.ts"}',
      'packages/tpl/.env': 'SECRET=1',
      'packages/tpl/src/index.ts': `import { readFileSync } from 'node:fs'; const read = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8');
export const tpl = (): string => readFileSync(new URL('./tpl.hbs', import.meta.url), 'utf8') + read('./' + 'other.hbs');`,
      'packages/tpl/src/tpl.hbs': 'tpl',
      'packages/tpl/src/other.hbs': 'other',
      'src/index.ts': `import { tpl } from '@acme/tpl'; ${FETCH('tpl()')}`,
    },
    has: ['node_modules/@acme/tpl/src/tpl.hbs'],
    hasNot: [/\.env$/],
  },
  {
    title:
      'B40 a workspace package that reads a file beside itself, JavaScript, is treated like an installed one',
    prepare: link('@acme/js', 'packages/js'),
    files: {
      'packages/js/package.json': '{"name":"@acme/js","dependencies":{}}',
      'packages/js/index.js':
        "const pick = (n) => require('./parts/' + n); module.exports = require('fs').readFileSync(__dirname + '/' + 'x.txt', 'utf8') + pick('a')",
      'packages/js/parts/a.js': "module.exports = 'part'",
      'packages/js/x.txt': 'x',
      'src/index.ts': `import js from '@acme/js'; ${FETCH('js')}`,
    },
    has: ['node_modules/@acme/js/x.txt'],
  },
  {
    title: '"packages" leaves out what "!" names, and the import fails as where it is not installed',
    settings: { packages: ['!@acme/*'] },
    files: {
      'node_modules/@acme/extra/package.json': '{"name":"@acme/extra"}',
      'node_modules/@acme/extra/index.js': "module.exports = 'extra'",
      'node_modules/needs/package.json': '{"name":"needs","dependencies":{"@acme/extra":"1"}}',
      'node_modules/needs/index.js':
        "const v = require('fs').readFileSync(__dirname + '/v', 'utf8'); let e = v; try { e += require('@acme/extra').slice(0, 0) } catch (error) { e += '' } module.exports = e",
      'node_modules/needs/v': 'v',
      'src/index.ts': `import needs from 'needs'; ${FETCH("needs + (await import('@acme/extra').then(() => '', () => ''))")}`,
    },
    hasNot: [/@acme/],
  },
  {
    title: 'libraries for other systems inside a package stay behind',
    files: {
      'node_modules/onnx/package.json': '{"name":"onnx"}',
      'node_modules/onnx/index.js':
        "module.exports = require('fs').readdirSync(__dirname + '/bin').includes('linux')",
      'node_modules/onnx/bin/linux/x.so': Buffer.from([
        0x7f,
        0x45,
        0x4c,
        0x46,
        2,
        1,
        1,
        ...Array<number>(11).fill(0),
        62,
        0,
      ]),
      'node_modules/onnx/bin/linux-arm/x.so': Buffer.from([
        0x7f,
        0x45,
        0x4c,
        0x46,
        2,
        1,
        1,
        ...Array<number>(11).fill(0),
        183,
        0,
      ]),
      'node_modules/onnx/bin/win32/x.dll': Buffer.from(`MZ${'\0'.repeat(60)}`),
      'node_modules/onnx/bin/darwin/x.dylib': Buffer.from(`\xcf\xfa\xed\xfe${'\0'.repeat(60)}`, 'latin1'),
      'node_modules/onnx/build/Release/obj.target/x.o': 'o',
      'src/index.ts': `import onnx from 'onnx'; ${FETCH('onnx')}`,
    },
    has: ['node_modules/onnx/bin/linux/x.so'],
    hasNot: [/\.dll$/, /\.dylib$/, /linux-arm/, /obj\.target/],
  },
  {
    title: 'optional peers come along only where they are imported',
    files: {
      'node_modules/orm/package.json':
        '{"name":"orm","peerDependencies":{"used":"1","other":"1","typed":"1"},"peerDependenciesMeta":{"used":{"optional":true},"other":{"optional":true},"typed":{"optional":true}}}',
      'node_modules/orm/used.js':
        "module.exports = require('fs').readFileSync(__dirname + '/v', 'utf8') + require('used')",
      'node_modules/orm/other.js': "module.exports = require('other')",
      'node_modules/orm/v': 'v',
      'node_modules/used/package.json': '{"name":"used"}',
      'node_modules/used/index.js': "module.exports = 'used'",
      'node_modules/other/package.json': '{"name":"other"}',
      'node_modules/other/index.js': "module.exports = 'other'",
      'node_modules/typed/package.json': '{"name":"typed"}',
      'src/index.ts': `import orm from 'orm/used.js'; ${FETCH('orm')}`,
    },
    has: ['node_modules/used/index.js'],
    hasNot: [/node_modules\/other/, /node_modules\/typed/],
  },
  {
    title: 'drizzle-orm beside other database packages in one node_modules',
    packages: [
      'drizzle-orm@0.45.4',
      'pg@8.16.3',
      '@electric-sql/pglite@0.5.17',
      'mysql2@3.15.3',
      'postgres@3.4.7',
    ],
    files: {
      'src/index.ts': `import { drizzle } from 'drizzle-orm/node-postgres'; import { pgTable, integer } from 'drizzle-orm/pg-core';
const t = pgTable('t', { id: integer() }); const db = drizzle('postgres://u@localhost/x');
${FETCH('db.select().from(t).toSQL().sql')}`,
    },
    hasNot: [/pglite/, /mysql2/],
  },
  {
    title: 'B35 piscina as its README has it, ejs, pug, i18next-fs-backend',
    packages: ['piscina@5.1.4', 'ejs@3.1.10', 'pug@3.0.3', 'i18next@25.6.2', 'i18next-fs-backend@2.6.1'],
    files: {
      'views/a.ejs': 'ejs <%= n %>',
      'views/a.pug': 'p= n',
      'locales/en/app.json': '{"hi":"Hello"}',
      'src/worker.mjs': "import { sep } from 'node:path'; export default ({ a, b }) => a + b + sep;",
      'src/index.ts': `import { Piscina } from 'piscina'; import ejs from 'ejs'; import pug from 'pug'; import i18next from 'i18next'; import Backend from 'i18next-fs-backend';
import path from 'node:path'; import { fileURLToPath } from 'node:url';
const __dirname = path.dirname(fileURLToPath(import.meta.url));
const run = async () => {
  const piscina = new Piscina({ filename: new URL('./worker.mjs', import.meta.url).href, maxThreads: 1 });
  const sum = await piscina.run({ a: 1, b: 2 }); await piscina.destroy();
  const i18n = i18next.createInstance(); await i18n.use(Backend).init({ lng: 'en', ns: ['app'], defaultNS: 'app', backend: { loadPath: path.join(__dirname, '../locales/{{lng}}/{{ns}}.json') } });
  return [sum, await ejs.renderFile(path.join(__dirname, '..', 'views', 'a.ejs'), { n: 1 }), pug.renderFile('views/a.pug', { n: 2 }), i18n.t('hi')];
};
${FETCH('await run()')}`,
    },
  },
  {
    title: 'sharp and argon2 stay files, with the library of this system',
    packages: ['sharp@0.34.5', '@node-rs/argon2@2.0.2'],
    files: {
      'src/index.ts': `import sharp from 'sharp'; import { hashSync, verifySync } from '@node-rs/argon2';
${FETCH("(await sharp({ create: { width: 2, height: 2, channels: 3, background: 'red' } }).png().toBuffer()).length > 20 && verifySync(hashSync('x'), 'x')")}`,
    },
  },
];

for (const {
  title,
  files,
  packages,
  settings,
  prepare,
  has = [],
  hasNot = [],
  memoryMb,
  warns = 0,
} of CASES) {
  test(`K4 ${title} [DE9]`, async () => {
    const manifest = JSON.stringify({ name: 'sample', ...settings });
    const project = await bench.project({ ...files, 'offshoot.json': manifest }, packages);
    prepare?.(project);
    const entry = settings?.entry ?? 'src/index.ts';
    const wanted = await project.fromSource('/', entry);
    const built = await project.build();
    expect(built.bundle.warnings).toHaveLength(warns);
    const { files: made, copies, packages: whole } = built.bundle;
    const ofPackages = whole.flatMap((one) => one.files().map((file) => `${one.to}/${file}`));
    const names = [...made.keys(), ...copies.keys(), ...ofPackages];
    expect(names).toEqual(expect.arrayContaining([...has]));
    for (const pattern of hasNot) expect(names.filter((name) => pattern.test(name))).toEqual([]);
    const sandbox = await bench.start(built, { ...(memoryMb !== undefined && { memoryMb }) });
    expect(await sandbox.call()).toEqual(wanted);
    expect(wanted.status).toBe(200);
  });
}

async function refusal(project: RealProject): Promise<CliError> {
  const error: unknown = await project.build().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CliError);
  return error as CliError;
}

test('K4 B39 a package that is installed for another system only is refused with the command that mends it [DE10]', async () => {
  const project = await bench.project({
    'node_modules/pic/package.json':
      '{"name":"pic","optionalDependencies":{"pic-linux-x64":"1","pic-linux-arm64":"1","pic-darwin-arm64":"1","pic-linuxmusl-x64":"1"}}',
    'node_modules/pic/index.js':
      "try { module.exports = require('pic-' + process.platform + '-' + process.arch) } catch { throw new Error('try npm install') }",
    'node_modules/pic-darwin-arm64/package.json':
      '{"name":"pic-darwin-arm64","os":["darwin"],"cpu":["arm64"]}',
    'node_modules/pic-darwin-arm64/index.js': "module.exports = 'mac'",
    'src/index.ts':
      "export default { fetch: async () => new Response(String((await import('pic')).default)) };",
  });
  const error = await refusal(project);
  expect(error).toMatchObject({ code: 'wrong_system' });
  expect(error.message).toContain('pic-darwin-arm64');
  expect(error.next).toContain('npm install --os=linux --cpu=');
});

test('K4 an addon for the binary interface of another Node is refused with the command that mends it [DE10]', async () => {
  const addon = (symbol: string): Buffer =>
    Buffer.from([
      0x7f,
      0x45,
      0x4c,
      0x46,
      2,
      1,
      1,
      ...Array<number>(11).fill(0),
      62,
      0,
      ...Buffer.from(`\0${symbol}\0`),
    ]);
  const project = await bench.project({
    'node_modules/old/package.json': '{"name":"old","version":"1.2.3"}',
    'node_modules/old/index.js': "module.exports = require('./build/Release/old.node')",
    'node_modules/old/build/Release/old.node': addon('node_register_module_v115'),
    'src/index.ts': "import old from 'old'; export default { fetch: () => new Response(String(old)) };",
  });
  const error = await refusal(project);
  expect(error).toMatchObject({ code: 'wrong_abi' });
  expect(error.message).toBe('old 1.2.3 was built for Node 20, binary interface 115; node26 has 147');
  expect(error.next).toContain('npm_config_target=26.0.0 npm rebuild old');
  // Addons of N-API, and of the right interface, pass.
  for (const symbol of ['napi_register_module_v1', 'node_register_module_v147']) {
    project.write({ 'node_modules/old/build/Release/old.node': addon(symbol) });
    expect((await project.build()).bundle.packages).toHaveLength(1);
  }
});

test('K4 B40 TypeScript of an installed package is bundled, never copied into a place where Node refuses it [DE9]', async () => {
  const project = await bench.project({
    'node_modules/tspkg/package.json': '{"name":"tspkg","type":"module","exports":"./src/index.ts"}',
    'node_modules/tspkg/src/index.ts':
      "import { readFileSync } from 'node:fs'; import { kind } from './kind.ts'; export const text = (name: string): string => kind + readFileSync(import.meta.dirname + '/' + name, 'utf8');",
    'node_modules/tspkg/src/kind.ts': 'export enum Kind { A = 1 } export const kind: string = Kind[1];',
    'node_modules/tspkg/src/x.txt': 'x',
    'src/index.ts':
      "import { text } from 'tspkg'; export default { fetch: () => new Response(text('x.txt')) };",
  });
  expect(await bench.fromArchive(project)).toEqual({ status: 200, text: 'Ax' });
});

test('K4 .env is named, with the variables that offshoot.json does not have [DE10]', async () => {
  const files = {
    '.env': 'SECRET=1\nGREETING=hi\n',
    'src/index.ts':
      'import fs from "node:fs"; import path from "node:path"; export default { fetch: () => new Response([fs.existsSync(path.join(process.cwd(), ".env")), fs.existsSync(".env"), fs.existsSync(path.join(import.meta.dirname, "../offshoot.json"))].join()) };',
  };
  const project = await bench.project({
    ...files,
    'offshoot.json': '{"name":"sample","env":{"GREETING":"x"}}',
  });
  const { bundle } = await project.build();
  expect(bundle.warnings).toEqual([['.env is not packed: put SECRET into "env" of offshoot.json']]);
  project.write({ 'offshoot.json': '{"name":"sample","env":{"GREETING":"x","SECRET":"y"}}' });
  expect((await project.build()).bundle.warnings).toEqual([]);
  expect(await bench.fromArchive(project)).toEqual({ status: 200, text: 'false,false,false' });
  // The author's word counts.
  project.write({ 'offshoot.json': '{"name":"sample","files":[".env"]}' });
  expect(await bench.fromArchive(project)).toEqual({ status: 200, text: 'true,true,false' });
});

test('K4 a pattern that matches nothing, one that leads out, and a package that is not installed are refused [DE10]', async () => {
  const project = await bench.project({
    'src/index.ts': 'export default { fetch: () => new Response("") };',
  });
  for (const [settings, text] of [
    ['"files":["nothing/**"]', 'nothing matches nothing/**'],
    ['"files":["../*"]', 'leads out'],
    ['"packages":["not-there"]', 'not-there is not installed'],
  ] as const) {
    project.write({ 'offshoot.json': `{"name":"sample",${settings}}` });
    expect((await refusal(project)).message).toContain(text);
  }
});

test('B51 a byte order mark in offshoot.json and package.json is no error', async () => {
  const project = await bench.project({
    'offshoot.json': '\uFEFF{"name":"sample"}',
    'package.json': '\uFEFF{"name":"x","type":"module"}',
    'src/index.ts': 'export default { fetch: () => new Response("ok") };',
  });
  expect(await bench.fromArchive(project)).toEqual({ status: 200, text: 'ok' });
});
