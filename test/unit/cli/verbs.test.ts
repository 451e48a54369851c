/** The whole tree of verbs: each explains itself, and refuses what it does not know. */
import { describe, expect, test } from 'vitest';
import { offshoot as root } from '../../../cli/commands/tree.ts';
import { parserOf } from '../../../cli/program.ts';
import { errorOf, Refused } from '../../../cli/verbs/refusal.ts';
import { membersOf, type Group, type Verb } from '../../../cli/verbs/verb.ts';
import { offshoot } from '../../support/cli.ts';
import { commandsOf, refusalOf } from '../../support/docs/commands.ts';

/** All verbs and groups below a group, with the words that name each. */
function below(node: Group, path: readonly string[] = []): { node: Verb | Group; path: readonly string[] }[] {
  return membersOf(node).flatMap((member) => {
    const at = { node: member, path: [...path, member.name] };
    return member.kind === 'group' ? [at, ...below(member, at.path)] : [at];
  });
}

const everything = below(root).map(({ node, path }) => ({ title: path.join(' '), node, path }));
const verbs = everything.flatMap(({ title, node, path }) =>
  node.kind === 'verb' ? [{ title, verb: node, path }] : [],
);

/** Words for the arguments that a verb cannot do without. */
function neededBy({ args }: Verb): string[] {
  return Object.values(args).flatMap(({ required }) => (required ? ['x'] : []));
}

describe.each(everything)('offshoot $title', ({ node, path }) => {
  test('has a summary, and examples that the program takes [CL1]', async () => {
    expect(node.summary).toMatch(/^(?:API|[a-z]).*[^.]$/);
    expect(node.examples.length).toBeGreaterThan(0);
    for (const example of node.examples) {
      const commands = commandsOf(example).filter(([program]) => program === 'offshoot');
      expect(commands.length, example).toBeGreaterThan(0);
      for (const [, ...words] of commands) {
        expect(words.slice(0, path.length), example).toEqual(node.kind === 'verb' ? path : expect.anything());
        expect(await refusalOf(words), example).toBeUndefined();
      }
    }
  });

  test('has help with its examples and --json [CL1]', () => {
    const { stdout, code } = shown([...path, '--help']);
    expect(code).toBe('commander.helpDisplayed');
    expect(stdout).toContain(`Usage: offshoot ${path.join(' ')} `);
    expect(stdout).toContain('--json');
    for (const example of node.examples) expect(stdout).toContain(`\n  ${example}\n`);
  });
});

/** What the program prints for a command line that runs nothing. */
function shown(argv: readonly string[]): { stdout: string; code: string } {
  let stdout = '';
  const output = { writeOut: (text: string) => void (stdout += text), writeErr: () => undefined };
  try {
    parserOf(false, async () => undefined, output).parse(argv, { from: 'user' });
    return { stdout, code: '' };
  } catch (error) {
    return { stdout, code: error instanceof Error && 'code' in error ? String(error.code) : String(error) };
  }
}

describe.each(verbs)('offshoot $title', ({ verb, path }) => {
  test('refuses an option that it does not have, with the next command [CL1]', async () => {
    expect(await mistake([...path, ...neededBy(verb), '--frobnicate'])).toEqual({
      message: `offshoot ${path.join(' ')} has no option --frobnicate`,
      next: `offshoot help ${path.join(' ')}`,
    });
    expect(await mistake([...path, ...neededBy(verb), '--namspace', 'shop'])).toEqual({
      message: `offshoot ${path.join(' ')} has no option --namspace; did you mean --namespace?`,
      next: ['offshoot', ...path, ...neededBy(verb), '--namespace', 'shop'].join(' '),
    });
  });
});

test.each(verbs.filter(({ verb }) => neededBy(verb).length > 0))(
  'offshoot $title says which argument it lacks, and how to find one [CL1]',
  async ({ path }) => {
    const { message, next } = (await mistake(path)) ?? {};
    expect(message).toMatch(new RegExp(`^offshoot ${path.join(' ')} needs [A-Z]+: .`));
    const [[, ...words] = []] = commandsOf(next ?? '');
    expect(await refusalOf(words)).toBeUndefined();
  },
);

/** How the program answers a mistake; undefined if it takes the command line. */
async function mistake(argv: readonly string[]): Promise<{ message: string; next: string } | undefined> {
  try {
    const quiet = { writeOut: () => undefined, writeErr: () => undefined };
    parserOf(false, async () => undefined, quiet).parse(argv, { from: 'user' });
    return undefined;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const { message, next } = await errorOf(error, argv);
    return { message, next };
  }
}

test.each([
  ['deplyo', 'did you mean "deploy"?', 'offshoot deploy'],
  ['deplyo --help', 'did you mean "deploy"?', 'offshoot deploy --help'],
  ['--help deplyo', 'did you mean "deploy"?', 'offshoot --help deploy'],
  ['whoami --help', 'offshoot has no verb "whoami"', 'offshoot help'],
  ['rollback', 'offshoot has no verb "rollback"', 'offshoot help'],
  ['dlq lst -n shop', 'did you mean "list"?', 'offshoot dlq list -n shop'],
  ['dlq redrvie 7b1c', 'did you mean "redrive"?', 'offshoot dlq redrive 7b1c'],
  ['dlq forget', 'it has list, show, redrive and purge', 'offshoot help dlq'],
  ['redrive 7b1c', 'did you mean "dlq redrive"?', 'offshoot dlq redrive 7b1c'],
  ['logs hello --folow', 'did you mean --follow?', 'offshoot logs hello --follow'],
  ['logs hello --grpe=a\\ b', 'did you mean --grep?', "offshoot logs hello --grep='a b'"],
  ['keys list --scope read', 'offshoot keys list has no option --scope', 'offshoot help keys list'],
  ['list --jsno --key osk_secret', 'did you mean --json?', 'offshoot list --json --key KEY'],
  ['lst --key=osk_secret', 'did you mean "list"?', 'offshoot list --key=KEY'],
  ['list -q', 'offshoot list has no option -q', 'offshoot help list'],
  ['list a', 'takes no argument; left over: a', 'offshoot help list'],
  ['invoke a b c', 'takes one argument; left over: b c', 'offshoot help invoke'],
  ['logs hello --since', 'needs a value behind --since', 'offshoot help logs'],
  ['dlq show', 'needs ID', 'offshoot dlq list'],
  ['dlq', 'needs a verb: list, show, redrive or purge', 'offshoot help dlq'],
])('offshoot %s is refused: %s [CL1]', async (line, message, next) => {
  const [argv = []] = commandsOf(line);
  expect(await mistake(argv)).toEqual({ message: expect.stringContaining(message) as string, next });
});

test.each([
  ['top --interval often', '--interval takes a number of at least 0.5, not "often"', 'offshoot help top'],
  ['invocations --limit 1.5', '--limit takes a whole number of at least 1', 'offshoot help invocations'],
  ['invocations --state over', '--state takes queued, running or done', 'offshoot help invocations'],
  ['invoke x --async --delay soon', '--delay takes a number, not "soon"', 'offshoot help invoke'],
  ['limits set --rate much', '--rate takes a number or "none"', 'offshoot help limits set'],
  ['limits set', 'limits set needs at least one limit', 'offshoot help limits set'],
  ['dlq purge', 'dlq purge needs an id, or --function, or --all', 'offshoot dlq list'],
  ['invoke x --callback http://a', '--callback is for', 'offshoot invoke x --async --callback http://a'],
  ['init x --template hno', '--template takes fetch, hono or lambda', 'offshoot help init'],
  ['help dlq redrvie', 'offshoot dlq has no verb "redrvie"', 'offshoot help dlq redrive'],
])('offshoot %s is refused before anything is done: %s [CL1]', async (line, message, next) => {
  const [argv = []] = commandsOf(line);
  const { code, stdout, stderr } = await offshoot(argv, { env: { OFFSHOOT_URL: 'http://127.0.0.1:9' } });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain(message);
  expect(stderr).toMatch(new RegExp(`\nnext: ${next}\n$`));
});

test('help, version and mistakes are one JSON document with --json [CL3]', async () => {
  const parsed = async (...argv: string[]) => {
    const { code, stdout, stderr } = await offshoot([...argv, '--json']);
    return [code, stderr, JSON.parse(stdout) as unknown];
  };
  expect(await parsed('--version')).toEqual([0, '', { version: expect.any(String) as string }]);
  expect(await parsed('help', 'dlq', 'redrive')).toEqual([
    0,
    '',
    expect.objectContaining({ command: 'offshoot dlq redrive', examples: expect.any(Array) as string[] }),
  ]);
  expect(await parsed('dlq', '--help')).toMatchObject([0, '', { command: 'offshoot dlq' }]);
  expect(await parsed('--help')).toMatchObject([0, '', { command: 'offshoot' }]);
  for (const argv of [[], ['dlq'], ['deplyo'], ['deplyo', '--help'], ['top', '--interval', 'often']]) {
    expect(await parsed(...argv)).toMatchObject([2, '', { error: { code: 'bad_usage' } }]);
  }
});

test('a verb without its noun, or alone, shows help on stderr and fails', async () => {
  for (const argv of [[], ['dlq']]) {
    const { code, stdout, stderr } = await offshoot(argv);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('Examples:\n');
  }
});
