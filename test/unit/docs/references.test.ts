/** Documents name links, files, routes and settings: each of them exists, and none of the last two is left out. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { manifestReferenceText } from '../../../infra/generate/manifest-reference.ts';
import { anchorsOf, CHECKOUT, codeSpansOf, documents } from '../../support/docs/documents.ts';

const all = documents();
const byPath = new Map(all.map((document) => [document.path, document]));
const source = (path: string): string => readFileSync(`${CHECKOUT}${path}`, 'utf8');

test('the reference of offshoot.json is up to date', () => {
  const text = manifestReferenceText(source('contract/offshoot.schema.json'));
  expect(source('docs/offshoot-json.md'), 'run: node infra/generate/schema.ts').toBe(text);
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
