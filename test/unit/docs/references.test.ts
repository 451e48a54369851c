/** Documents name links, files, commands, routes and settings: each of them exists, and none of the last two is left out. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import packageJson from '../../../package.json' with { type: 'json' };
import { ERRORS } from '#contract/api/errors.ts';
import { DEAD } from '#contract/invocations/dead-letter.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { cliPage } from '../../../infra/generate-cli.ts';
import { manifestReferenceText } from '../../../infra/manifest-reference.ts';
import { commandsInSentence, commandsOf, namesVerb, refusalOf } from '../../support/commands.ts';
import { anchorsOf, CHECKOUT, codeSpansOf, documents } from '../../support/documents.ts';

const all = documents();
const byPath = new Map(all.map((document) => [document.path, document]));
const source = (path: string): string => readFileSync(`${CHECKOUT}${path}`, 'utf8');

test('the reference of offshoot.json is up to date', () => {
  const text = manifestReferenceText(source('contract/offshoot.schema.json'));
  expect(source('docs/offshoot-json.md'), 'run: node infra/generate-schema.ts').toBe(text);
});

test('the reference of the command line is up to date', () => {
  expect(source('docs/cli.md'), 'run: node infra/generate-cli.ts').toBe(cliPage());
});

describe.each(all)('$path', (document) => {
  const { path, prose } = document;

  test('links to documents, headings and files that exist', () => {
    const broken = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = '']) => {
      if (/^https?:/.test(link)) return [];
      const [file = '', anchor] = link.split('#');
      const target = file === '' ? path : normalize(join(dirname(path), file));
      if (!existsSync(`${CHECKOUT}${target}`)) return [`${link}: no such file`];
      if (anchor === undefined) return [];
      const linked = byPath.get(target);
      return linked && anchorsOf(linked).has(anchor) ? [] : [`${link}: no such heading`];
    });
    expect(broken).toEqual([]);
  });

  test('names files, and functions in them, that exist', () => {
    const missing = codeSpansOf(document).map(({ line, text }) => [line, whyNoPlace(text)] as const);
    expect(missing.filter(([, why]) => why !== undefined)).toEqual([]);
  });

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

/** `gateway/call/server.ts`, or with a function or class in it: `gateway/call/server.ts:createGatewayServer`. */
const PLACE =
  /^((?:bench|cli|contract|dashboard|docs|functions|gateway|infra|runtime-images|storage|telemetry|test|watchdog|worker)\/[\w./@-]*\w\/?)(?::([\w#]+))?$/;
/** Why a code span that looks like a place in the checkout is none. */
function whyNoPlace(text: string): string | undefined {
  const [, file = '', name] = PLACE.exec(text) ?? [];
  if (file === '') return undefined;
  if (!existsSync(`${CHECKOUT}${file}`)) return `there is no ${file}`;
  if (name === undefined || new RegExp(`(?<![\\w#])${name}\\b`).test(source(file))) return undefined;
  return `${file} has no ${name}`;
}

test('a wrong place would be found', () => {
  expect(whyNoPlace('gateway/call/serving.ts')).toBe('there is no gateway/call/serving.ts');
  expect(whyNoPlace('worker/run/run.ts:#finishes')).toBe('worker/run/run.ts has no #finishes');
  expect(whyNoPlace('worker/run/run.ts:#finish')).toBeUndefined();
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

test('docs/http-api.md has each route of the API, with its scope', () => {
  const table = source('gateway/routes/app.ts').matchAll(/\['(\w+)', [`']([^`']+)[`'], '(\w+)', /g);
  const routes = [...table].map(
    ([, method = '', path = '', scope]) =>
      `${method.toUpperCase()} ${path.replace(/^\$\{API\}/, '/api/v1')} ${scope}`,
  );
  const rows = source('docs/http-api.md').matchAll(/^\| ([A-Z]+) \| `([^`]+)` \| (\w+) \|/gm);
  expect(routes.length).toBeGreaterThan(30);
  expect([...rows].map(([, method, path, scope]) => `${method} ${path} ${scope}`).toSorted()).toEqual(
    routes.toSorted(),
  );
});

test('docs/operating.md has each setting of gateway, worker and supervisor', () => {
  const files = [
    'gateway/env.ts',
    'worker/process/env.ts',
    'storage/s3/settings.ts',
    'contract/platform/telemetry.ts',
  ];
  const variable = /^ {2}((?:OFFSHOOT|OTEL|AWS)_\w+|REDIS_URL): /gm;
  const settings = files.flatMap((file) => [...source(file).matchAll(variable)].map(([, name = '']) => name));
  const operating = source('docs/operating.md');
  expect(settings.length).toBeGreaterThan(40);
  expect(settings.filter((name) => !operating.includes(`\`${name}\``))).toEqual([]);
});
