/** K3: what tsconfig.json says is done, or refused by name with the way out. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CliError } from '../../../cli/terminal/errors.ts';
import { RealBench, type Files } from '../../support/real/project.ts';

let bench: RealBench;
beforeAll(async () => {
  bench = await RealBench.open();
});
afterAll(async () => {
  await bench.close();
});

const INJECTION: Files = {
  'src/index.ts': `import 'reflect-metadata';
import { A, Repository } from './a.ts';
import type { Options } from './a.ts';
import fs from 'node:fs';
function Injectable(): ClassDecorator { return () => undefined; }
function Prop(): PropertyDecorator { return () => undefined; }
@Injectable()
class B {
  @Prop() readonly at!: Date;
  constructor(readonly a: A, readonly repository: Repository<string>, options?: Options) { void options; }
}
const types = (Reflect as any).getMetadata('design:paramtypes', B);
export default { fetch: () => new Response([...types.map((one: Function) => one.name),
  (Reflect as any).getMetadata('design:type', B.prototype, 'at').name,
  fs.readFileSync(new URL('./note.txt', import.meta.url), 'utf8')].join()) };`,
  'src/a.ts':
    'export class A {} export class Repository<T> { one?: T } export interface Options { x?: number }',
  'src/note.txt': 'note',
  'tsconfig.json': `{ // comments are allowed
    "compilerOptions": { "experimentalDecorators": true, "emitDecoratorMetadata": true, "module": "nodenext", "target": "es2022",
      "rewriteRelativeImportExtensions": true, "outDir": "src/dist", "rootDir": "src", "skipLibCheck": true, "noCheck": true }, "include": ["src"] }`,
};

test('K3 B31 emitDecoratorMetadata by the TypeScript of the project, as tsc compiles it [DE8]', async () => {
  const project = await bench.project(INJECTION, ['typescript@5.9.3', 'reflect-metadata@0.2.2']);
  await project.exec('tsc', ['-p', '.']);
  project.write({ 'src/dist/note.txt': 'note' });
  const wanted = await project.fromSource('/', 'src/dist/index.js');
  expect(wanted.text).toBe('A,Repository,Object,Date,note');
  expect(await bench.fromArchive(project)).toEqual(wanted);
});

test('K3 B31 emitDecoratorMetadata by the swc of the project, where TypeScript has no API [DE8]', async () => {
  const project = await bench.project(INJECTION, [
    'typescript@7.0.2',
    '@swc/core@1.15.3',
    'reflect-metadata@0.2.2',
  ]);
  expect((await bench.fromArchive(project)).text).toBe('A,Repository,Object,Date,note');
});

test('K3 B31 emitDecoratorMetadata without a compiler is refused by name, with the line and the way out [DE8]', async () => {
  const project = await bench.project(INJECTION, ['reflect-metadata@0.2.2']);
  const error = await project.build().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CliError);
  expect(error).toMatchObject({
    message: expect.stringContaining('emitDecoratorMetadata') as string,
    next: expect.stringContaining('npm install --save-dev @swc/core') as string,
  });
  expect((error as CliError).lines[0]).toMatch(/^src\/index\.ts:7:1: /);
});

test('K3 B31 nest with its own tsconfig [DE8]', async () => {
  const project = await bench.project(
    {
      'offshoot.json': '{"name":"sample","entry":"src/main.ts"}',
      'tsconfig.json':
        '{"compilerOptions":{"module":"nodenext","target":"ES2023","experimentalDecorators":true,"emitDecoratorMetadata":true}}',
      'src/main.ts': `import 'reflect-metadata';
import { Controller, Get, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
@Injectable() class Cats { all() { return ['Tom']; } }
@Controller('cats') class CatsController { constructor(private readonly cats: Cats) {} @Get() all() { return this.cats.all(); } }
@Module({ controllers: [CatsController], providers: [Cats] }) class AppModule {}
export default { async fetch() { const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
  return Response.json(app.get(CatsController).all()); } };`,
    },
    [
      '@nestjs/common@11.1.9',
      '@nestjs/core@11.1.9',
      'reflect-metadata@0.2.2',
      'rxjs@7.8.2',
      'typescript@5.9.3',
    ],
  );
  expect(await bench.fromArchive(project)).toEqual({ status: 200, text: '["Tom"]' });
});

const ELEMENT = 'const Hi = ({ name }: { name: string }) => <b>Hi {name}</b>;';
const RENDER: Files = {
  'src/index.tsx': `import { renderToStaticMarkup } from 'react-dom/server';
${ELEMENT}
export default { fetch: () => new Response(renderToStaticMarkup(<><Hi name="Ada" /></>)) };`,
  'offshoot.json': '{"name":"sample","entry":"src/index.tsx"}',
};
const REACT = ['react@19.2.0', 'react-dom@19.2.0'];
const SETTINGS: readonly (readonly [string, Files])[] = [
  ['no tsconfig.json', {}],
  ['"jsx": "preserve"', { 'tsconfig.json': '{"compilerOptions":{"jsx":"preserve"}}' }],
  ['no jsx setting', { 'tsconfig.json': '{"compilerOptions":{}}' }],
  ['"jsx": "react-jsx"', { 'tsconfig.json': '{"compilerOptions":{"jsx":"react-jsx"}}' }],
  [
    'React imported and no setting',
    { 'src/index.tsx': `import React from 'react';\n${String(RENDER['src/index.tsx'])}` },
  ],
];

test.each(SETTINGS)('K3 B41 JSX with %s', async (_, files) => {
  const project = await bench.project({ ...RENDER, ...files }, REACT);
  expect(await bench.fromArchive(project)).toEqual({ status: 200, text: '<b>Hi Ada</b>' });
});

test('K3 B41 JSX of hono by its pragma alone, and by the package alone [DE8]', async () => {
  for (const pragma of ['/** @jsxImportSource hono/jsx */', '']) {
    const project = await bench.project(
      {
        'src/index.tsx': `${pragma}\n${ELEMENT}\nexport default { fetch: () => new Response(String(<Hi name="Ada" />)) };`,
        'offshoot.json': '{"name":"sample","entry":"src/index.tsx"}',
      },
      ['hono@4.10.7'],
    );
    expect((await project.build()).bundle.warnings).toEqual([]);
    expect(await bench.fromArchive(project)).toEqual({ status: 200, text: '<b>Hi Ada</b>' });
  }
});

test.each([
  ['no library is installed', {}, /^no library for JSX/],
  [
    'React is not in scope',
    { 'tsconfig.json': '{"compilerOptions":{"jsx":"react"}}' },
    /^"jsx" in tsconfig.json is "react"/,
  ],
])('K3 B41 JSX is refused with the line and the way out where %s', async (_, files, text) => {
  const project = await bench.project({
    'src/index.tsx': 'export default { fetch: () => new Response(String(<b />)) };',
    'offshoot.json': '{"name":"sample","entry":"src/index.tsx"}',
    ...(files as Files),
  });
  await expect(project.build()).rejects.toMatchObject({
    lines: expect.arrayContaining([expect.stringMatching(/^src\/index\.tsx:1:51: /)]) as string[],
    next: expect.stringContaining('tsconfig.json') as string,
    message: expect.stringMatching(new RegExp(`bundled: ${text.source.slice(1)}`)) as string,
  });
});

test('K3 paths of a referred project, and its decorators [DE8]', async () => {
  const project = await bench.project({
    'tsconfig.json':
      '{"files":[],"references":[{"path":"./tsconfig.test.json"},{"path":"./tsconfig.app.json"}]}',
    'tsconfig.test.json': '{"include":["test"],"compilerOptions":{"composite":true}}',
    'tsconfig.app.json':
      '{"include":["src"],"compilerOptions":{"composite":true,"experimentalDecorators":true,"paths":{"@/*":["./src/lib/*"],"#app":["./src/app.ts"]}}}',
    'src/lib/a.ts': "import { app } from '#app'; export const a = 'a' + app;",
    'src/app.ts': "export const app = 'app';",
    'src/index.ts': `import { a } from '@/a';
const seen: unknown[] = []; function note(...args: unknown[]) { seen.push(args.length); }
class X { @note one() {} }
export default { fetch: () => new Response(a + seen + X.name) };`,
  });
  expect((await bench.fromArchive(project)).text).toBe('aapp3X');
});

test('K3 rootDirs are one folder [DE8]', async () => {
  const project = await bench.project({
    'tsconfig.json': '{"compilerOptions":{"rootDirs":["./src","./generated"]}}',
    'generated/api/client.ts': "import { own } from '../own'; export const client = 'generated' + own;",
    'src/own.ts': "export const own = '+own';",
    'src/index.ts':
      "import { client } from './api/client'; export default { fetch: () => new Response(client) };",
  });
  expect((await bench.fromArchive(project)).text).toBe('generated+own');
});
