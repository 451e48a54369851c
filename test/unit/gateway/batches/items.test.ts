/**
 * How a body is cut into items, whatever its pieces: their bytes stay as sent, and a bad item is refused by its number.
 */
import {
  array,
  assert,
  constantFrom,
  dictionary,
  integer,
  json as anyJson,
  jsonValue,
  nat,
  property,
  string,
  tuple,
} from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonScanner, membersOf, NotJson } from '#contract/api/json-scanner.ts';
import { MAX_ITEM_BYTES, MAX_ITEM_DEPTH } from '#contract/functions/limits.ts';
import { itemCutter, type ItemForm } from '../../../../gateway/batches/items.ts';

/** The items of a body, followed by the message of the error that ended it. */
function cut(form: ItemForm, body: string | Buffer, pieceBytes = 7): string[] {
  const told: string[] = [];
  const cutter = itemCutter(form, (json) => told.push(json.toString('utf8')));
  const bytes = Buffer.from(body);
  try {
    for (let at = 0; at < bytes.length; at += pieceBytes) cutter.push(bytes.subarray(at, at + pieceBytes));
    cutter.end();
  } catch (error) {
    told.push(`! ${String((error as { code?: string }).code)}: ${(error as Error).message}`);
  }
  return told;
}

const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

describe('items keep their bytes', () => {
  const items = [
    '1.0',
    '-0',
    '1e400',
    '12345678901234567890',
    '{"b":1,"a":2,"b":3,"__proto__":4}',
    '{ "spaces" :\t[ 1 , 2 ] }',
    '"\\ud800 \\u00e9 é 𝄞 \\/"',
    '[]',
    '{}',
    'null',
    '" , ] } [ { \\" \\\\"',
  ];
  test.each([1, 2, 3, 64, 100_000])(
    'items keep their bytes in pieces of %i bytes, in both forms [GW11]',
    (pieceBytes) => {
      expect(cut('array', ` [ ${items.join(' ,\r\n')} ]\n `, pieceBytes)).toEqual(items);
      expect(cut('lines', `\n ${items.join(' \r\n\n\t')}`, pieceBytes)).toEqual(items);
      const marked = Buffer.from([0xef, 0xbb, 0xbf]);
      expect(cut('array', Buffer.concat([marked, Buffer.from('[1]')]), pieceBytes)).toEqual(['1']);
      expect(cut('lines', Buffer.concat([marked, Buffer.from('1\n')]), pieceBytes)).toEqual(['1']);
    },
  );

  test('items are passed on as soon as they are known to be whole', () => {
    const given: string[] = [];
    const cutter = itemCutter('array', (json) => given.push(json.toString()));
    cutter.push(Buffer.from('[{"a":1}'));
    expect(given).toEqual(['{"a":1}']);
    cutter.push(Buffer.from(',12'));
    expect(given).toEqual(['{"a":1}']);
    cutter.push(Buffer.from('3]'));
    expect(given).toEqual(['{"a":1}', '123']);
  });

  test('items keep their bytes, except line feeds within them, which become spaces', () => {
    expect(cut('array', '[{\r\n "a":\n1}]')).toEqual(['{\r  "a": 1}']);
  });

  test('items keep their bytes at any size and depth up to the limits', () => {
    const largest = `"${'x'.repeat(MAX_ITEM_BYTES - 2)}"`;
    expect(cut('array', `[${largest},${deep(MAX_ITEM_DEPTH)}]`, 10_000)).toEqual([
      largest,
      deep(MAX_ITEM_DEPTH),
    ]);
    expect(cut('lines', `${largest}\n${deep(MAX_ITEM_DEPTH)}`, 10_000)).toEqual([
      largest,
      deep(MAX_ITEM_DEPTH),
    ]);
    const large = `"${'x'.repeat(MAX_ITEM_BYTES - 1)}"`;
    expect(cut('array', `[0,${large}]`, 10_000)[1]).toMatch(
      /^! bad_item: item 2 is larger than 262144 bytes/,
    );
    expect(cut('lines', `0\n${large}`, 10_000)[1]).toMatch(/^! bad_item: line 2 is larger than 262144 bytes/);
    const deeper = deep(MAX_ITEM_DEPTH + 1);
    expect(cut('array', `[0,${deeper}]`)[1]).toMatch(/^! bad_item: item 2 has .* more than 1000 deep/);
    expect(cut('lines', `0\n${deeper}`)[1]).toMatch(/^! bad_item: line 2 has .* more than 1000 deep/);
  });

  test('a body without items has none', () => {
    for (const body of ['', ' \n', '[]', ' [ ] ']) expect(cut('array', body)).toEqual([]);
    for (const body of ['', ' \r\n\n']) expect(cut('lines', body)).toEqual([]);
  });
});

describe('bad items are refused, and the items before them are taken', () => {
  test.each<[string, string[]]>([
    ['[1,]', ['1', '! bad_item: after 1 items the array is not JSON: there is no item before a bracket']],
    ['[,1]', ['! bad_item: after 0 items the array is not JSON: there is no item before a comma']],
    ['[1,,2]', ['1', '! bad_item: after 1 items the array is not JSON: there is no item before a comma']],
    ['[0,1 2]', ['0', '! bad_item: item 2 is not JSON: more text follows it']],
    ['["a" 2]', ['"a"', '! bad_item: after 1 items the array is not JSON: a comma is missing after them']],
    ['[{}x]', ['{}', '! bad_item: after 1 items the array is not JSON: a comma is missing after them']],
    ['[truex]', ['! bad_item: item 1 is not JSON: more text follows it']],
    ['[1', ['! bad_item: after 0 items the array is not JSON: it ends too early']],
    ['[1,', ['1', '! bad_item: after 1 items the array is not JSON: it ends too early']],
    ['[', ['! bad_item: after 0 items the array is not JSON: it ends too early']],
    ['[1]x', ['1', '! bad_item: after 1 items the array is not JSON: more text follows its end']],
    ['[1][2]', ['1', '! bad_item: after 1 items the array is not JSON: more text follows its end']],
    ['{"a":1}', ['! bad_item: the body is not a JSON array']],
    ['[1,{"a":}]', ['1', '! bad_item: item 2 is not JSON: "}" cannot stand there']],
    ['[01]', ['! bad_item: item 1 is not JSON: more text follows it']],
    ['[1.5.5]', ['! bad_item: item 1 is not JSON: more text follows it']],
    ['["a\nb"]', ['! bad_item: item 1 is not JSON: a string has a control character that is not escaped']],
    ['[nul]', ['! bad_item: item 1 is not JSON: "]" cannot stand there']],
    ['[\u00a01]', ['! bad_item: item 1 is not JSON: a byte 0xc2 cannot stand there']],
  ])('array %j', (body, told) => {
    for (const size of [1, 2, 100]) expect(cut('array', body, size)).toEqual(told);
  });

  test.each<[string, string[]]>([
    ['1\n2 3\n4', ['1', '! bad_item: line 2 is not JSON: more text follows the value']],
    ['1\n{"a":\n2}', ['1', '! bad_item: line 2 is not JSON: it ends too early']],
    ['1\n\n-', ['1', '! bad_item: line 3 is not JSON: it ends too early']],
    ['1\n[1,2\n', ['1', '! bad_item: line 2 is not JSON: it ends too early']],
    ['\ufeff1\n\ufeff2', ['1', '! bad_item: line 2 is not JSON: a byte 0xef cannot stand there']],
  ])('lines %j', (body, told) => {
    for (const size of [1, 2, 100]) expect(cut('lines', body, size)).toEqual(told);
  });

  test('bytes that are no UTF-8 are refused, such as half of a surrogate pair', () => {
    const half = Buffer.concat([Buffer.from('["a","'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"]')]);
    expect(cut('array', half)).toEqual(['"a"', '! bad_item: item 2 is not UTF-8']);
  });
});

describe('the scanner', () => {
  const isJson = (bytes: Buffer, pieceBytes: number): boolean => {
    const scanner = new JsonScanner({ maxDepth: Infinity });
    try {
      for (let from = 0; from < bytes.length; from += pieceBytes) {
        const piece = bytes.subarray(from, from + pieceBytes);
        const stop = scanner.scan(piece, 0);
        if (/\S/.test(piece.toString('latin1', stop).replaceAll(/[ \t\r\n]/g, ''))) return false;
      }
      scanner.end();
      return true;
    } catch (error) {
      if (error instanceof NotJson) return false;
      throw error;
    }
  };
  const parses = (text: string): boolean => {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  };
  const size = integer({ min: 1, max: 12 });

  test('the scanner takes every value that JSON.parse() takes', () => {
    assert(
      property(
        anyJson({ maxDepth: 6 }),
        constantFrom(undefined, 1, '\t'),
        size,
        (json, indent, pieceBytes) => {
          const text = JSON.stringify(JSON.parse(json), undefined, indent);
          expect(isJson(Buffer.from(text), pieceBytes)).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('the scanner refuses all bytes that JSON.parse() refuses', () => {
    const pieces = [
      '[',
      ']',
      '{',
      '}',
      ',',
      ':',
      '"',
      '"a"',
      '\\',
      '\\u00e9',
      '\\u00g',
      '0',
      '1',
      '-',
      '+',
      '.',
      'e',
      'E5',
    ];
    const words = [
      'true',
      'fals',
      'null',
      ' ',
      '\n',
      '\t',
      '\u0001',
      'x',
      'é',
      '1.5',
      '-0',
      '01',
      '{"a":1}',
      '[1]',
    ];
    const soup = array(constantFrom(...pieces, ...words), { maxLength: 9 });
    assert(
      property(soup, size, (parts, pieceBytes) => {
        const text = parts.join('');
        expect([text, isJson(Buffer.from(text), pieceBytes)]).toEqual([text, parses(text)]);
      }),
      { numRuns: 20_000 },
    );
  });

  test('the scanner agrees with JSON.parse() after a change of one byte', () => {
    const change = tuple(nat(), constantFrom(...'[]{},:"\\0-+.eEtrufalsn 1x'.split('')));
    assert(
      property(anyJson({ maxDepth: 4 }), change, size, (json, [at, character], pieceBytes) => {
        const place = at % json.length;
        const text = json.slice(0, place) + character + json.slice(place + 1);
        expect([text, isJson(Buffer.from(text), pieceBytes)]).toEqual([text, parses(text)]);
      }),
      { numRuns: 5_000 },
    );
  });

  test('the scanner cuts an object into its members, as they were written', () => {
    const object = '{ "a" : 1.0 ,"b\\u0063":[ {"a":2}, "}" ],"c":{},"a":null\t}';
    const found = membersOf(Buffer.from(object)) ?? new Map<string, Buffer>();
    expect([...found].map(([name, json]) => [name, json.toString()])).toEqual([
      ['a', 'null'],
      ['bc', '[ {"a":2}, "}" ]'],
      ['c', '{}'],
    ]);
    expect(membersOf(Buffer.from('{}'))?.size).toBe(0);
    for (const other of ['', '[]', '{"a":1', '{"a":1}}', ' {}', '1', '{"a":1},']) {
      expect(membersOf(Buffer.from(other)), other).toBeUndefined();
    }
    assert(
      property(dictionary(string(), jsonValue(), { maxKeys: 9 }), (value) => {
        const members = [...(membersOf(Buffer.from(JSON.stringify(value))) ?? [])];
        expect(members.map(([name, json]) => [name, JSON.parse(json.toString()) as unknown])).toEqual(
          Object.entries(JSON.parse(JSON.stringify(value)) as object),
        );
      }),
    );
  });
});
