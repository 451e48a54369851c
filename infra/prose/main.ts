/**
 * `npm run check:prose [-- --list [PATH]]`: counts sentences that are hard to read, in comments, documents and text for people. Fails
 * when there are more than prose/limits.json allows; the numbers in there may only fall.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { habitOf, MAX_WORDS } from './habits.ts';
import { sentencesOf } from './sentences.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const limitsFile = new URL('limits.json', import.meta.url);
const READ = /\.(ts|tsx|mjs|c|h|sh|md|ya?ml)$/;
/** Fixtures, recorded output and this script, which names the words that it looks for. */
const SKIPPED = /^(infra\/prose\/|LICENSE|package-lock|docs\/.*\.generated\.md|.*\.d\.ts$)/;
const Limits = z.object({ hard: z.number(), long: z.number() });

interface Found {
  readonly where: string;
  readonly text: string;
  readonly habit: string | undefined;
  readonly long: boolean;
}

function look(): { sentences: number; found: Found[] } {
  // Also what is new and not committed yet, but nothing that git ignores.
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: checkout,
    encoding: 'utf8',
  });
  let sentences = 0;
  const found: Found[] = [];
  for (const path of list.split('\n').filter((name) => READ.test(name) && !SKIPPED.test(name))) {
    for (const { line, text } of sentencesOf(path, read(path))) {
      sentences++;
      const habit = habitOf(text)?.name;
      const long = text.split(/\s+/).length > MAX_WORDS;
      if (habit !== undefined || long) found.push({ where: `${path}:${line}`, text, habit, long });
    }
  }
  return { sentences, found };
}

function read(path: string): string {
  try {
    return readFileSync(`${checkout}/${path}`, 'utf8');
  } catch {
    // Listed by git and removed since.
    return '';
  }
}

const { sentences, found } = look();
const hard = found.filter(({ habit }) => habit !== undefined).length;
const long = found.filter((one) => one.long).length;
const [option, prefix = ''] = process.argv.slice(2);
if (option === '--list') {
  for (const { where, text, habit } of found) {
    if (where.startsWith(prefix)) console.log(`${where}: ${habit ?? `over ${MAX_WORDS} words`}\n    ${text}`);
  }
}
const share = ((100 * hard) / sentences).toFixed(1);
console.log(`prose: ${hard} of ${sentences} sentences are hard to read (${share} %), ${long} have over ${MAX_WORDS} words`);
if (option === '--lower') {
  writeFileSync(limitsFile, `${JSON.stringify({ hard, long }, undefined, 2)}\n`);
} else {
  const limits = Limits.parse(JSON.parse(readFileSync(limitsFile, 'utf8')));
  if (hard > limits.hard || long > limits.long) {
    console.error(
      `prose: at most ${limits.hard} and ${limits.long} are allowed; CONTRIBUTING.md says how to write them, and this lists yours:\n` +
        '  npm run check:prose -- --list PATH',
    );
    process.exitCode = 1;
  }
}
