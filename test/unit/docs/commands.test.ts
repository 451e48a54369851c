/** Documents, next steps of the catalogues and hints in the sources name commands: the program takes each of them. */
import { globSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ERRORS } from '#contract/api/errors.ts';
import { DEAD } from '#contract/invocations/dead-letter.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { cliPage } from '../../../infra/generate/cli.ts';
import packageJson from '../../../package.json' with { type: 'json' };
import { commandsInSentence, commandsOf, namesVerb, refusalOf } from '../../support/docs/commands.ts';
import { CHECKOUT, codeSpansOf, documents } from '../../support/docs/documents.ts';

const source = (path: string): string => readFileSync(`${CHECKOUT}${path}`, 'utf8');

test('the reference of the command line is up to date', () => {
  expect(source('docs/cli.md'), 'run: node infra/generate/cli.ts').toBe(cliPage());
});

describe.each(documents())('$path', (document) => {
  test('names commands that the program takes [CL2]', async () => {
    const lines = document.blocks
      .filter(({ info }) => info === 'sh' || info === 'console')
      .flatMap(({ info, text }) => linesToType(info, text));
    const spans = codeSpansOf(document).map(({ text }) => text);
    const wrong = [
      ...(await Promise.all(lines.map((line) => wrongCommands(line)))),
      ...(await Promise.all(spans.map((span) => wrongCommands(span, namesVerb)))),
    ];
    expect(wrong.flat()).toEqual([]);
  });
});

/** Lines of a block that a reader types; in a console, those behind its prompt, and the next steps that the program has printed. */
function linesToType(info: string, text: string): string[] {
  const lines = text.replaceAll('\\\n', ' ').split('\n');
  if (info === 'sh') return lines;
  return lines.flatMap((line) => /^\$ (.*)$/.exec(line)?.[1] ?? /next: (offshoot .*)$/.exec(line)?.[1] ?? []);
}

/** The mistakes in commands of `offshoot` and npm in a line of a shell. `isMention`: true for words that are no whole command. */
async function wrongCommands(
  line: string,
  isMention: (words: readonly string[]) => boolean = () => false,
): Promise<string[]> {
  const problems: string[] = [];
  for (const [program, ...words] of commandsOf(line)) {
    const script = words.find((word, index) => index > 0 && !word.startsWith('-'));
    if (program === 'npm' && words[0] === 'run' && script !== undefined && !(script in packageJson.scripts)) {
      problems.push(`npm run ${script}: no such script`);
    }
    // `offshoot VERB` stands for any of them.
    if (program !== 'offshoot' || words[0] === 'VERB' || words.length === 0 || isMention(words)) continue;
    const why = await refusalOf(words);
    if (why !== undefined) problems.push(why);
  }
  return problems.map((problem) => `${problem} (${line.trim()})`);
}

test('a wrong command would be found', async () => {
  const refused = (text: string) => [expect.stringContaining(text) as string];
  expect(await wrongCommands('cd x && offshoot deplyo')).toEqual(refused('has no verb "deplyo"'));
  expect(await wrongCommands('offshoot invoke x --later')).toEqual(refused('has no option --later'));
  expect(await wrongCommands('offshoot dlq redrvie ID')).toEqual(refused('has no verb "redrvie"'));
  expect(await wrongCommands('offshoot dlq')).toEqual(refused('needs a verb'));
  expect(await wrongCommands('offshoot dlq', namesVerb)).toEqual([]);
  expect(await wrongCommands('offshoot trace', namesVerb)).toEqual([]);
  expect(await wrongCommands('offshoot trace')).toEqual(refused('needs ID'));
  expect(await wrongCommands('offshoot top --interval often')).toEqual(refused('takes a number'));
  expect(await wrongCommands('npm run tset:slow')).toEqual(refused('no such script'));
  expect(await wrongCommands(`offshoot invoke x -a --data '{"a": 1}' | jq # offshoot nope`)).toEqual([]);
});

describe('next steps of the catalogues', () => {
  const steps = [
    ...Object.entries({ ...ERRORS, ...OUTCOMES }).map(([code, { next }]) => [code, next] as const),
    ...Object.entries(DEAD).map(([reason, { change }]) => [reason, change] as const),
  ];

  test.each(steps)('%s names commands that the program takes [CL2]', async (_code, next) => {
    const commands = commandsInSentence(next);
    expect(commands).toHaveLength(next.split(/\boffshoot(?= )/).length - 1);
    expect(await Promise.all(commands.map(refusalOf))).toEqual(commands.map(() => undefined));
  });

  test('a wrong one would be found', async () => {
    expect(commandsInSentence('see it: offshoot trace ID; then: offshoot dlq redrive ID')).toEqual([
      ['trace', 'ID'],
      ['dlq', 'redrive', 'ID'],
    ]);
    expect(await refusalOf(['describe'])).toContain('needs NAME');
  });
});

/** Places where a text for people may name a command. */
const SOURCES = '{cli,contract,dashboard,gateway,infra,worker}/**/*.{ts,tsx}';

/** Commands in strings of a source, up to the first part that is computed. Lines of comments are left out. */
function commandsInSource(text: string): string[][] {
  const code = text.replaceAll(/^\s*(?:\/?\*|\/\/).*$/gm, '');
  const found = [...code.matchAll(/(?:['"`>]|: |&& |\\n)offshoot ([a-z-][^'"`;,)<\n\\]*)/g)];
  return found.flatMap(([, rest = '']) => commandsOf(rest.replace(/ ?\S*\$\{.*/, '')).slice(0, 1));
}

test('hints in the sources name verbs and options that exist [CL2]', async () => {
  const files = globSync(SOURCES, { cwd: CHECKOUT }).filter((path) => !path.includes('node_modules'));
  const hints = files.flatMap((path) => commandsInSource(source(path)).map((words) => ({ path, words })));
  expect(hints.length).toBeGreaterThan(60);
  const wrong: string[] = [];
  for (const { path, words } of hints) {
    // `offshoot itself failed: …` is no command.
    if (words[0] === 'itself' || namesVerb(words)) continue;
    const why = await refusalOf(words);
    // A hint may end before its values, which are computed.
    if (why !== undefined && /has no (?:verb|option)/.test(why)) wrong.push(`${path}: ${why}`);
  }
  expect(wrong).toEqual([]);
});

test('a wrong hint would be found', () => {
  expect(commandsInSource("next: 'see it: offshoot dlq purge --al'")).toEqual([['dlq', 'purge', '--al']]);
  expect(commandsInSource('next: `offshoot batch show ${id}`')).toEqual([['batch', 'show']]);
  expect(commandsInSource(' * `offshoot nothing` is in a comment')).toEqual([]);
});
