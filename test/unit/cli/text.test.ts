import { expect, test } from 'vitest';
import { terminalJson } from '#contract/api/text.ts';
import { CliError } from '../../../cli/terminal/errors.ts';
import { excerpt } from '../../../cli/terminal/excerpt.ts';
import { parseSince } from '../../../cli/show/log-lines.ts';
import { renderBar } from '../../../cli/terminal/progress.ts';
import { serverSentEvents } from '../../../cli/api/sse.ts';
import { framesOf } from '../../../cli/bundle/terms/frames.ts';
import { ownFrame } from '../../../cli/deploy/stack.ts';
import { table } from '../../../cli/terminal/terminal.ts';
import { ago, bytes, defuse, defuseLines, milliseconds, shellWord } from '../../../cli/terminal/text.ts';
import { bar, waterfall } from '../../../cli/show/waterfall.ts';
import { seen } from '../../../dashboard/parts/format.ts';
import { parseServerTiming } from '../../../cli/show/call-end.ts';

/** Characters on which a terminal acts, that reorder text, or that cannot be encoded. */
// oxlint-disable-next-line no-control-regex -- the test looks for these
const ACTED_ON = /[\u0000-\u0008\u000a-\u001f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\p{Cs}]/u;

test('output of a function cannot control the terminal [OB18]', () => {
  expect(defuse('\u001b[31mred\u001b[0m \u0007 \u009b2J \u007f')).toBe('␛[31mred␛[0m ␇ \\x9b2J ␡');
  expect(defuse('a\rb\nc\u202ed')).toBe('a␍b␊c\\u202ed');
  // An address behind other text (OSC 8), in both forms; an end of string; text that runs backwards; new lines; half a character.
  expect(defuse('\u001b]8;;http://evil\u001b\\\\ok')).not.toMatch(ACTED_ON);
  expect(defuse('\u009d8;;http://evil\u009cok')).toBe('\\x9d8;;http://evil\\x9cok');
  expect(defuse('a\u0000b\u061cc\u2067d\u2028e\ud800f')).toBe('a␀b\\u061cc\\u2067d\\u2028e\\ud800f');
  expect(defuse('😀')).toBe('😀');
  expect(defuse('tab\tand ümläut 漢字')).toBe('tab\tand ümläut 漢字');
  expect(defuseLines('a\r\nb\u001b')).toEqual(['a', 'b␛']);
});

test('output of a function cannot reorder text in the dashboard', () => {
  expect(seen('a\u001b[31mb\u009b1mc\u202ed\u061ce\u2028f\ud800g')).toBe(
    'a␛[31mb\\u009b1mc\\u202ed\\u061ce\\u2028f\\ud800g',
  );
  expect(seen('two\nlines\t😀')).toBe('two\nlines\t😀');
});

test('JSON keeps its meaning for a program, and nothing in it acts on a terminal', () => {
  const value = { text: `a\u001b[2Jb\u009b2Jc\u202ed\u2066e\u0000f\u007fg\u2028h\ud800i😀 "ü"` };
  const text = terminalJson(value);
  expect(text).not.toMatch(ACTED_ON);
  expect(JSON.parse(text)).toEqual(value);
  expect(terminalJson({ a: [1] }, 2)).toBe(JSON.stringify({ a: [1] }, undefined, 2));
});

test('--since takes times as people write them', () => {
  const now = Date.parse('2026-01-31T12:00:00Z');
  expect(parseSince('90s', now)).toBe(now - 90_000);
  expect(parseSince('1.5h', now)).toBe(now - 5_400_000);
  expect(parseSince('2d', now)).toBe(now - 2 * 86_400_000);
  expect(parseSince('2026-01-31T10:00:00Z', now)).toBe(now - 7_200_000);
  for (const wrong of ['', '10', '10x', 'yesterday']) expect(() => parseSince(wrong, now)).toThrow(CliError);
});

test('sizes and times are shown with the significant digits', () => {
  expect([999, 1_500, 2_340_000].map(bytes)).toEqual(['999 B', '1.5 kB', '2.3 MB']);
  expect([0.123, 12.34, 123.4, 1_234, 61_000].map(milliseconds)).toEqual([
    '0.12 ms',
    '12.3 ms',
    '123 ms',
    '1.23 s',
    '61.0 s',
  ]);
  expect(ago(0, 5_000)).toBe('5 s ago');
  expect(ago(0, 7_200_000)).toBe('2 h ago');
});

test('words for the shell are quoted only where necessary', () => {
  expect(shellWord('/tmp/a-b.json')).toBe('/tmp/a-b.json');
  expect(shellWord("it's here")).toBe(`'it'\\''s here'`);
});

test('an excerpt points at the column, tabs included', () => {
  expect(excerpt('one\n\tlet x = ;\nthree', { line: 2, column: 10 })).toEqual([
    '  1 | one',
    '> 2 |   let x = ;',
    '    |           ^',
    '  3 | three',
  ]);
  expect(excerpt('one', { line: 9, column: 1 })).toEqual([]);
});

test('stack frames lead to files, those of the developer first', () => {
  const sources = new Map([
    ['src/index.ts', '/home/me/fn/src/index.ts'],
    ['../lib/util.ts', '/home/me/lib/util.ts'],
    ['node_modules/a/index.js', '/home/me/fn/node_modules/a/index.js'],
  ]);
  const stack = [
    'Error: at me (nothing:1:1)',
    '    at inner (node_modules/a/index.js:3:4)',
    '    at helper (lib/util.ts:7:8)',
    '    at file:///var/task/src/index.ts:5:6',
    '    at node:internal/modules/esm/loader:99:9',
  ].join('\n');
  const frames = framesOf(stack, sources);
  expect(frames.map(({ file, line }) => `${file}:${line}`)).toEqual([
    '/home/me/fn/node_modules/a/index.js:3',
    '/home/me/lib/util.ts:7',
    '/home/me/fn/src/index.ts:5',
  ]);
  expect(ownFrame(frames)).toEqual({ file: '/home/me/lib/util.ts', line: 7, column: 8 });
});

test('bars are drawn to scale, and every phase that took time is visible', () => {
  expect(bar(0, 1, 10)).toBe('██████████');
  expect(bar(0.5, 0.25, 8)).toBe('    ██');
  expect(bar(0.999, 0.00001, 10)).toBe('         ▏');
  expect(renderBar(1, 2, 4)).toBe('██░░  50 %');
  expect(renderBar(0, 0, 4)).toBe('████ 100 %');
  const lines = waterfall(
    [
      { name: 'invoke', spanId: 'r', start: 0, duration: 10, attributes: {} },
      { name: 'run', spanId: 'c', parentSpanId: 'r', start: 5, duration: 5, attributes: {} },
    ],
    46,
  );
  expect(lines).toEqual([
    'invoke        10.0 ms  ████████████████████',
    '  run         5.00 ms            ██████████',
  ]);
});

test('columns line up, the last is not padded', () => {
  expect(table(['A', 'B'], [['long', 'x']])).toEqual(['A     B', 'long  x']);
});

test('server-sent events are parsed wherever the bytes are cut', async () => {
  const text = ': comment\n\nid: 1\ndata: {"a":1}\n\nevent: end\r\ndata: x\r\ndata: y\r\n\r\ndata: cut';
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (const byte of new TextEncoder().encode(text)) yield Uint8Array.of(byte);
  }
  const events = [];
  for await (const event of serverSentEvents(pieces())) events.push(event);
  expect(events).toEqual([
    { event: 'message', data: '{"a":1}', id: '1' },
    { event: 'end', data: 'x\ny', id: undefined },
  ]);
});

test('Server-Timing entries are parsed, with a comma inside of a description', () => {
  expect(parseServerTiming('gateway;dur=0.1, acquire;dur=3;desc="cold, first_call", run;dur=1.5')).toEqual([
    { name: 'gateway', duration: 0.1, description: undefined },
    { name: 'acquire', duration: 3, description: 'cold, first_call' },
    { name: 'run', duration: 1.5, description: undefined },
  ]);
  expect(parseServerTiming('')).toEqual([]);
});
