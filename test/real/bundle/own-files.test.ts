/** K4: files of the author's own, found where a source names them by its own place or by the working directory. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RealBench, type Files } from '../../support/real/project.ts';

let bench: RealBench;
beforeAll(async () => {
  bench = await RealBench.open();
});
afterAll(async () => {
  await bench.close();
});

interface Case {
  readonly title: string;
  readonly files: Files;
  readonly packages?: readonly string[];
  readonly entry?: string;
  /** Texts that the warnings have, in order; none by default. */
  readonly warns?: readonly RegExp[];
}

const MAIL = { 'src/mail.hbs': 'Dear {{name}}' };
const FETCH = (value: string): string =>
  `export default { fetch: async () => new Response(String(${value})) };`;

const CASES: readonly Case[] = [
  {
    title: "B36 readFileSync(new URL('./x', import.meta.url))",
    files: {
      ...MAIL,
      'src/index.ts': `import { readFileSync } from 'node:fs'; ${FETCH("readFileSync(new URL('./mail.hbs', import.meta.url), 'utf8')")}`,
    },
  },
  {
    title: 'B36 the tutorial idiom: __filename and __dirname of its own, a constant, a template',
    files: {
      ...MAIL,
      'src/index.ts': `import fs from 'node:fs'; import path from 'node:path'; import { fileURLToPath } from 'node:url';
const __filename = fileURLToPath(import.meta.url);
const __dirname = path.dirname(__filename);
const FILE = path.join(__dirname, 'mail.hbs');
${FETCH('fs.readFileSync(FILE) + fs.readFileSync(`${__dirname}/mail.hbs`)')}`,
    },
  },
  {
    title: 'B36 a folder that is listed, with a folder that begins with a dot',
    files: {
      'src/locales/de.json': '{"hi":"Hallo"}',
      'src/locales/.well-known/x.txt': 'dot',
      'src/lib/read.ts': `import { readdirSync, readFileSync } from 'node:fs'; import { join } from 'node:path';
const folder = join(import.meta.dirname, '../locales');
export const read = () => readdirSync(folder).sort() + readFileSync(join(folder, '.well-known', 'x.txt'), 'utf8');`,
      'src/index.ts': `import { read } from './lib/read.ts'; ${FETCH('read()')}`,
    },
  },
  {
    title: 'B36 a file whose name only the run knows, in a folder that is named',
    files: {
      'src/locales/de.json': '{"hi":"Hallo"}',
      'src/index.ts': `import { readFile } from 'node:fs/promises';
const read = (lang: string) => readFile(new URL(\`./locales/\${lang}.json\`, import.meta.url), 'utf8');
${FETCH("await read('de')")}`,
    },
  },
  {
    title: 'B36 by the working directory: process.cwd(), a relative path, a package.json of its own',
    files: {
      'views/a.hbs': 'view',
      'data/x.txt': 'data',
      'src/index.ts': `import { readFileSync } from 'node:fs'; import path from 'node:path';
${FETCH("readFileSync(path.join(process.cwd(), 'views', 'a.hbs'), 'utf8') + readFileSync('data/x.txt') + readFileSync('views/a.hbs') + JSON.parse(readFileSync('package.json', 'utf8')).name")}`,
    },
  },
  {
    title: 'places of imported files: url, filename, dirname, import.meta itself, resolve',
    files: {
      'src/deep/er/place.ts': `import path from 'node:path'; const { dirname } = import.meta;
const here = (f: string) => path.relative(process.cwd(), f);
export const place = () => [here(import.meta.dirname), here(import.meta.filename), here(dirname), here(new URL('.', import.meta.url).pathname), here(new URL(import.meta.resolve('./x.txt')).pathname)];`,
      'src/index.ts': `import { place } from './deep/er/place.ts'; ${FETCH('place()')}`,
    },
  },
  {
    title: 'places of CommonJS files: __dirname, __filename, shorthand, typeof',
    entry: 'src/index.cjs',
    files: {
      'src/sub/place.cjs': `const path = require('node:path'); const here = (f) => path.relative(process.cwd(), f);
module.exports = () => [here(__dirname), here(__filename), here(({ __dirname }).__dirname), typeof __dirname, typeof require.resolve];`,
      'src/index.cjs': `const place = require('./sub/place.cjs'); exports.default = { fetch: () => new Response(String(place())) };`,
    },
  },
  {
    title: 'B38 require of a module by a computed path',
    entry: 'src/index.cjs',
    files: {
      'src/jobs/a.cjs': `const { b } = require('./lib/b.cjs'); module.exports = () => 'a' + b;`,
      'src/jobs/lib/b.cjs': `exports.b = 'b';`,
      'src/jobs/z.cjs': `const x = require('plain'); module.exports = () => 'z' + x;`,
      'node_modules/plain/package.json': '{"name":"plain"}',
      'node_modules/plain/index.js': "module.exports = 'plain'",
      'src/index.cjs': `const path = require('node:path');
const run = (job) => require(path.join(__dirname, 'jobs', job))();
exports.default = { fetch: () => new Response(run('a.cjs') + run('z.cjs')) };`,
    },
  },
  {
    title: 'B38 import of a module by a computed path, TypeScript',
    files: {
      'src/jobs/a.ts':
        `import { b } from './b.ts'; enum X { A = 'x' } export default (): string => 'a' + b + String(import.meta.dirname.endsWith('src/jobs'));`.replace(
          "enum X { A = 'x' } ",
          '',
        ),
      'src/jobs/b.ts': `export const b: string = 'b';`,
      'src/index.ts': `import path from 'node:path';
const load = async (job: string) => (await import(path.join(import.meta.dirname, 'jobs', job + '.ts'))).default();
${FETCH("await load('a')")}`,
    },
  },
  {
    title: 'B38 import and require by a template that begins with a relative path',
    files: {
      'src/jobs/a.ts': 'export const a: string = "a";',
      'src/old/b.cjs': 'module.exports = "b";',
      'src/old/index.cjs': 'exports.get = (name) => require(`./${name}.cjs`);',
      'src/index.ts': `import { get } from './old/index.cjs'; const job = async (name: string) => (await import(\`./jobs/\${name}.ts\`)).a;
${FETCH("(await job('a')) + get('b')")}`,
    },
  },
  {
    title: 'B38 a relative module whose name is in a variable',
    files: {
      'src/jobs/a.mjs': `export default 'done';`,
      'src/index.ts': `const list = ['./jobs/a.mjs']; const keep = new URL('./jobs/a.mjs', import.meta.url).href;
${FETCH('(await import(list[0]!)).default + (await import(keep)).default')}`,
    },
    warns: [/only the run knows what is imported/],
  },
  {
    title: 'B37 a worker thread in TypeScript by new URL, which imports and reads beside itself',
    files: {
      'src/jobs/w.ts': `import { parentPort, workerData } from 'node:worker_threads'; import { readFileSync } from 'node:fs';
import { twice } from '../twice.ts';
parentPort!.postMessage(twice(workerData as number) + readFileSync(new URL('./note.txt', import.meta.url), 'utf8'));`,
      'src/jobs/note.txt': '!',
      'src/twice.ts': 'export const twice = (n: number): number => n * 2;',
      'src/index.ts': `import { Worker } from 'node:worker_threads'; import { once } from 'node:events';
const run = async () => { const w = new Worker(new URL('./jobs/w.ts', import.meta.url), { workerData: 21 }); const [m] = await once(w, 'message'); await w.terminate(); return m; };
${FETCH('await run()')}`,
    },
  },
  {
    title: 'B37 a forked script by path.join, and a CommonJS worker by __dirname',
    entry: 'src/index.cjs',
    files: {
      'src/child.js': `import { sep } from 'node:path'; process.send('child' + sep);`,
      'src/w.cjs': `const { parentPort } = require('node:worker_threads'); parentPort.postMessage(typeof require + require('./part.cjs'));`,
      'src/part.cjs': `module.exports = 'part';`,
      'src/index.cjs': `const { fork } = require('node:child_process'); const { Worker } = require('node:worker_threads');
const path = require('node:path'); const { once } = require('node:events');
const run = async () => {
  const child = fork(path.join(__dirname, 'child.js')); const [a] = await once(child, 'message'); child.kill();
  const w = new Worker(path.resolve(__dirname, './w.cjs')); const [b] = await once(w, 'message'); await w.terminate();
  return a + b;
};
exports.default = { fetch: async () => new Response(await run()) };`,
    },
  },
  {
    title: 'createRequire of its own: JSON, a CommonJS file, a package',
    files: {
      'src/data.json': '{"a":1}',
      'src/old.cjs': `exports.old = require('./older.cjs');`,
      'src/older.cjs': `module.exports = 'older';`,
      'node_modules/plain/package.json': '{"name":"plain"}',
      'node_modules/plain/index.js': "module.exports = 'plain'",
      'src/index.ts': `import { createRequire } from 'node:module';
const require = createRequire(import.meta.url); const other = createRequire(import.meta.url);
${FETCH("require('./data.json').a + require('./old.cjs').old + other('plain') + typeof require.resolve + typeof require('node:fs').readFile")}`,
    },
  },
  {
    title: 'modules and packages by require.resolve and import.meta.resolve',
    files: {
      'src/w.ts': `import { parentPort } from 'node:worker_threads'; parentPort!.postMessage('w' as string);`,
      'src/old.cjs': `const { Worker } = require('node:worker_threads'); if (!Worker) return; exports.at = require.resolve('./data/x.json'); exports.main = require.main === module;`,
      'src/data/x.json': '{"x":1}',
      'node_modules/plain/package.json': '{"name":"plain","version":"1.2.3"}',
      'node_modules/plain/index.js': "module.exports = 'plain'",
      'src/index.ts': `import { Worker } from 'node:worker_threads'; import { once } from 'node:events'; import { createRequire } from 'node:module'; import { readFileSync } from 'node:fs'; import { fileURLToPath } from 'node:url'; import old from './old.cjs';
const nodeRequire = createRequire(import.meta.url);
const run = async () => { const w = new Worker(new URL(import.meta.resolve('./w.ts'))); const [m] = await once(w, 'message'); await w.terminate();
  return [m, readFileSync(old.at, 'utf8'), old.main, JSON.parse(readFileSync(nodeRequire.resolve('plain/package.json'), 'utf8')).version, (await import(import.meta.resolve('plain'))).default,
    import.meta.url === 'file://' + process.argv[1], fileURLToPath(import.meta.url).endsWith('src/index.ts')]; };
${FETCH('JSON.stringify(await run())')}`,
    },
    warns: [/only the run knows what is imported/],
  },
  {
    title: 'texts that are no paths are left alone',
    files: {
      'src/index.ts': `import { existsSync, readFileSync } from 'node:fs'; import path from 'node:path';
const odd = ['./a\\0b.txt', '/', '.', '..', './', './\\ud800.x', \`\${'x'.repeat(3)}/y.z\`, '${'long.'.repeat(90)}'];
const root = existsSync('/'); const up = new URL('/', import.meta.url).pathname; const long = path.join(import.meta.dirname, '${'n'.repeat(300)}');
${FETCH("[odd.length, root, up, existsSync(long), existsSync('./a\\0b.txt'), (() => { try { return readFileSync('x\\0/y.txt') } catch (error) { return error.code } })()]")}`,
    },
  },
  {
    title: 'a path that only the run knows is named with file and line',
    files: {
      'src/index.ts': `import { readFileSync } from 'node:fs'; import path from 'node:path';
const read = (name: string) => readFileSync(path.join(import.meta.dirname, name), 'utf8');
${FETCH("(() => { try { return read('nothing.txt'); } catch (error) { return error.code; } })()")}`,
    },
    warns: [/only the run knows which file this is/],
  },
  {
    title: 'a file above the function is named with file and line',
    files: {
      'src/index.ts': `import { readFileSync } from 'node:fs';
${FETCH("(() => { try { return typeof readFileSync(new URL('../../../../../../../../etc/passwd', import.meta.url), 'utf8') } catch (error) { return error.code; } })()")}`,
    },
    warns: [/passwd lies outside of the function's folder/],
  },
];

for (const { title, files, packages, entry = 'src/index.ts', warns = [] } of CASES) {
  test(`K4 ${title} [DE9]`, async () => {
    const project = await bench.project(
      { ...files, 'offshoot.json': JSON.stringify({ name: 'sample', entry }) },
      packages,
    );
    const wanted = await project.fromSource('/', entry);
    const built = await project.build();
    const { warnings } = built.bundle;
    expect(warnings).toHaveLength(warns.length);
    // Each names its file and line.
    for (const [at, pattern] of warns.entries()) {
      expect(warnings[at]?.[0]).toMatch(new RegExp(`^src/index\\.ts:\\d+:\\d+: .*${pattern.source}`));
    }
    const sandbox = await bench.start(built);
    expect(await sandbox.call()).toEqual(wanted);
    expect(wanted.status).toBe(200);
  });
}
