/** offshoot dev sees each change of a source, whatever happens to the folders around it. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { watchSources, type SourceWatcher } from '../../../cli/deploy/watch.ts';
import { temporaryFolder } from '../../support/cli.ts';

/** A watched project with one source, by default `src/lib/index.ts`, and the content of that source at each change. */
class Watched {
  readonly root = temporaryFolder();
  readonly directory = path.join(this.root, 'project');
  readonly source: string;
  readonly seen: string[] = [];
  readonly watcher: SourceWatcher;

  constructor(source = 'project/src/lib/index.ts') {
    this.source = path.join(this.root, source);
    mkdirSync(this.directory, { recursive: true });
    this.put('zero');
    this.watcher = watchSources(this.directory, () => {
      try {
        this.seen.push(readFileSync(this.source, 'utf8'));
      } catch {
        this.seen.push('gone');
      }
    });
    this.watcher.also([this.source]);
    onTestFinished(() => this.watcher.close());
  }

  /** Writes the source, and makes missing folders. */
  put(text: string): void {
    mkdirSync(path.dirname(this.source), { recursive: true });
    writeFileSync(this.source, text);
  }

  async sees(text: string): Promise<void> {
    await vi.waitFor(() => expect(this.seen.at(-1)).toBe(text), { timeout: 5_000, interval: 5 });
  }
}

test('a change is seen, in a new folder too', async () => {
  const watched = new Watched();
  watched.put('one');
  await watched.sees('one');
  writeFileSync(path.join(watched.directory, 'src/other.ts'), '');
  await watched.sees('one');
  watched.put('two');
  await watched.sees('two');
});

test.each([
  ['at once', false],
  ['after a while', true],
])(
  'a change is seen after its folder is removed and made again %s, as by git checkout',
  async (_how, noticed) => {
    const watched = new Watched();
    for (const round of ['first', 'second']) {
      rmSync(path.join(watched.directory, 'src'), { recursive: true });
      if (noticed) await watched.sees('gone');
      watched.put(`${round}: made again`);
      await watched.sees(`${round}: made again`);
      watched.put(`${round}: changed`);
      await watched.sees(`${round}: changed`);
    }
  },
);

test('a change is seen after its folder is moved away and another put in its place', async () => {
  const watched = new Watched();
  const folder = path.join(watched.directory, 'src');
  renameSync(folder, path.join(watched.root, 'old'));
  watched.put('another');
  await watched.sees('another');
  watched.put('changed');
  await watched.sees('changed');
});

test.each([
  ['the whole project', 'project/index.ts', 'project'],
  ['a folder outside of it', 'shared/deep/index.ts', 'shared'],
])('a change is seen after %s is removed and made again', async (_what, source, removed) => {
  const watched = new Watched(source);
  rmSync(path.join(watched.root, removed), { recursive: true });
  await watched.sees('gone');
  watched.put('made again');
  await watched.sees('made again');
  watched.put('changed');
  await watched.sees('changed');
});
