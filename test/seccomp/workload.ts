/** Work of functions, in steps that each give a result to compare: the test functions, and the basket of packages. */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { extract } from 'tar';
import { archiveOf } from '../../cli/bundle/archive.ts';
import { Bundler } from '../../cli/bundle/bundle.ts';
import { readProject } from '../../cli/bundle/project.ts';
import type { BenchSandbox, CallOptions, StartOptions } from '../support/sandbox/sandbox-bench.ts';

const FUNCTIONS = fileURLToPath(new URL('../../functions/', import.meta.url));

export interface Step {
  readonly name: string;
  /** Steps of one function run in one sandbox. */
  readonly code: string;
  readonly options: StartOptions;
  /** Returns the part of the result that must be the same under every sufficient filter. */
  run(sandbox: BenchSandbox): Promise<string>;
}

type Answer = Awaited<ReturnType<BenchSandbox['call']>>;

const json = (value: object): CallOptions => ({
  method: 'POST',
  headers: [['content-type', 'application/json']],
  body: JSON.stringify(value),
});

/** 8 x 8 pixels. */
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAYAAADED76LAAAACXBIWXMAAAPoAAAD6AG1e1JrAAAAEklEQVQYlWNwaDjwHx9mGBkKABU2n8F4RK5/AAAAAElFTkSuQmCC',
  'base64',
);

const same = ({ status, text }: Answer): string => `${status} ${text}`;
const onlyStatus = ({ status }: Answer): string => String(status);

/** Path and request of each call, and the part of the answer that never changes. */
const CALLS: Readonly<Record<string, readonly [string, CallOptions?, ((answer: Answer) => string)?][]>> = {
  'hello-fetch': [['/?name=x']],
  'hono-zod': [
    ['/orders', json({ item: 'a', quantity: 3 }), onlyStatus],
    ['/orders', json({ item: 1 })],
  ],
  lambda: [['/?numbers=1,2,3']],
  markdown: [['/?page', { method: 'POST', body: '# Title\n\n- a\n- [b](https://example.org)\n' }]],
  thumbnail: [['/?size=4', { method: 'POST', body: PNG }]],
  stream: [['/?count=3&pause=5'], ['/events?count=2&pause=1'], ['/echo', { method: 'POST', body: 'echoed' }]],
  'native-addon': [['/', json({ password: 'secret' }), onlyStatus]],
  'in-line': [['/sleep?ms=2'], ['/print?text=x'], ['/spin?ms=2']],
  faulty: [
    ['/process'],
    ['/throw'],
    ['/binary'],
    ['/wait-until?ms=5'],
    ['/print-some'],
    ['/random', {}, onlyStatus],
    ['/large-response', {}, ({ text }) => String(text.length)],
    ['/abort'],
  ],
};

/** Puts all functions into `store`, a directory each. */
export async function storeFunctions(store: string): Promise<void> {
  for (const name of Object.keys(CALLS)) {
    const bundler = await Bundler.create(await readProject(join(FUNCTIONS, name)));
    const { data } = await archiveOf(await bundler.run());
    await bundler.dispose();
    const file = join(store, `${name}.tar.gz`);
    await writeFile(file, data);
    await mkdir(join(store, name));
    await extract({ file, cwd: join(store, name) });
  }
  // Copied with its packages as files: bundling them takes longer than copying them.
  await cp(join(FUNCTIONS, 'basket'), join(store, 'basket'), { recursive: true });
}

/** `packages`: the paths of the basket. */
export function workload(packages: readonly string[]): Step[] {
  const functions = Object.entries(CALLS).map(([name, calls]) => ({
    name,
    code: name,
    options: { memoryMb: 192 },
    run: async (sandbox: BenchSandbox) => {
      const got: string[] = [];
      for (const [path, request, keep = same] of calls)
        got.push(await sandbox.call(path, request).then(keep, String));
      return got.join('\n');
    },
  }));
  const basket = packages.map((name) => ({
    name: `basket ${name}`,
    code: 'basket',
    options: BASKET,
    run: async (sandbox: BenchSandbox) => (await sandbox.call(`/${encodeURIComponent(name)}`)).text,
  }));
  return [...functions, ...basket];
}

export const BASKET: StartOptions = { memoryMb: 512, entry: 'src/index.mjs' };
