/** K2: code sees the names that its author gave. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RealBench } from '../../support/real/project.ts';

let bench: RealBench;
beforeAll(async () => {
  bench = await RealBench.open();
});
afterAll(async () => {
  await bench.close();
});

test('K2 B30 names of classes and functions, of default exports, and of classes that mention themselves [DE7]', async () => {
  const project = await bench.project({
    'src/index.ts': `
import { User as A, save as saveA } from './a.ts';
import { User as B, save as saveB } from './b.ts';
import Unnamed, { arrow } from './c.ts';
class NotFoundError extends Error { constructor() { super('x'); this.name = NotFoundError.name; } }
class Registry { static all = [Registry.name]; static name2 = Registry.name; }
const Expression = class Inner { static own = Inner.name; };
export default { fetch: () => Response.json([A.name, B.name, saveA.name, saveB.name, Unnamed.name, arrow.name,
  new NotFoundError().name, Registry.all, Registry.name2, Expression.name, Expression.own,
  Object.getOwnPropertyNames(class { static x = 1 }).includes('name')]) };`,
    'src/a.ts': 'export class User {} export function save() {}',
    'src/b.ts': 'export class User {} export function save() {}',
    'src/c.ts': 'export default class {} export const arrow = () => 1;',
  });
  const wanted = await project.fromSource();
  expect(await bench.fromArchive(project)).toEqual(wanted);
  expect(JSON.parse(wanted.text)).toContain('NotFoundError');
});

test('K2 B30 an uncaught error has the name of its class, and its stack leads to the source', async () => {
  const project = await bench.project({
    'src/index.ts': `class NotFoundError extends Error {
  constructor() { super('x'); this.name = NotFoundError.name; }
}
export default { fetch: () => new Response(String(new NotFoundError().stack).split('\\n').slice(0, 2).join('|').replace(/\\(?file:.*task./, '')) };`,
  });
  const { text } = await bench.fromArchive(project);
  expect(text).toMatch(/^NotFoundError: x|Error: x/);
});
