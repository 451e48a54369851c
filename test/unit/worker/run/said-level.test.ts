import { expect, test } from 'vitest';
import { saidLevel } from '../../../../worker/run/said-level.ts';

const json = (value: object): string | undefined => saidLevel(JSON.stringify(value), true);

test.each([
  [{ level: 10 }, 'trace'],
  [{ level: 20 }, 'debug'],
  [{ level: 30, msg: 'x' }, 'info'],
  [{ level: 35 }, 'info'],
  [{ level: 40 }, 'warn'],
  [{ name: 'app', hostname: 'h', pid: 1, level: 50 }, 'error'],
  [{ level: 60 }, 'fatal'],
  [{ level: 99 }, 'fatal'],
  [{ message: 'x', level: 'http' }, 'debug'],
  [{ level: 'silly' }, 'trace'],
  [{ level: 'WARNING' }, 'warn'],
  [{ level: '\u001b[31merror\u001b[39m' }, 'error'],
  [{ level: '50' }, 'error'],
  [{ severity: 'CRITICAL' }, 'fatal'],
  [{ severity: 500 }, 'error'],
  [{ severity: 'DEFAULT' }, 'info'],
  [{ 'log.level': 'error' }, 'error'],
  [{ log: { level: 'warn' } }, 'warn'],
  [{ version: '1.1', short_message: 'x', level: 3 }, 'error'],
  [{ level: 'dpanic' }, 'fatal'],
])('a line of JSON names its level: %j [OB40]', (line, wanted) => {
  expect(json(line)).toBe(wanted);
});

test.each([
  [{ level: 'platform' }],
  [{ level: 'gold' }],
  [{ level: 3 }],
  [{ level: null }],
  [{ level: { a: 1 } }],
  [{ data: { level: 50 } }],
  [{ message: 'a "level": "error" of text' }],
])('a line of JSON without a level of a logger has none: %j', (line) => {
  expect(json(line)).toBeUndefined();
});

test('a part of a line of JSON has no level', () => {
  expect(saidLevel('{"level":50,"msg":"', true)).toBeUndefined();
  expect(saidLevel('"x":1,"level":50}', true)).toBeUndefined();
  expect(saidLevel('{"level":50,}', true)).toBeUndefined();
});

test.each([
  ['error: no stock', 'error'],
  ['[WARN] slow', 'warn'],
  ['[info]', 'info'],
  ['ERROR:root:no', 'error'],
  ['\u001b[31merror\u001b[39m: red', 'error'],
  ['[2026-11-29T15:44:01.123] [ERROR] default - no', 'error'],
  ['2026-11-29T15:44:01.123Z DEBUG x', 'debug'],
  ['time=2026-11-29T15:44:01Z level=error msg="no"', 'error'],
  ['ts=1 level="warn" caller=a', 'warn'],
  ['Error: boom', 'error'],
])('a line of text names its level: %s', (line, wanted) => {
  expect(saidLevel(line, true)).toBe(wanted);
  // A method of console says more than the beginning of a text.
  expect(saidLevel(line, false)).toBeUndefined();
});

test.each([
  'errors: 3',
  'an error: x',
  'data: {}',
  'information desk',
  'http://a.example',
  'error',
  '',
  '{',
  'a level=errors b',
])('other text has no level: %j', (line) => {
  expect(saidLevel(line, true)).toBeUndefined();
});
