import { expect, test } from 'vitest';
import { encodeAnswer, parseQuery, RCODE } from '../../../../worker/network/dns-wire.ts';

function question(labels: readonly string[], type = 1): Buffer {
  const header = Buffer.from([0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
  const name = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([header, ...name, Buffer.from([0, 0, type, 0, 1])]);
}

test('a question is read, and answered with its own id and question', () => {
  const query = parseQuery(question(['WWW', 'Example', 'com'])) ?? expect.fail();
  expect(query).toMatchObject({ id: 0x1234, name: 'www.example.com', wantsAddress: true });
  const answer = encodeAnswer(query, RCODE.NOERROR, [{ address: '203.0.113.5', ttl: 7 }]);
  expect(answer.readUInt16BE(0)).toBe(0x1234);
  // Response, recursion desired and available, no error; one question, one answer.
  expect(answer.subarray(2, 8).toString('hex')).toBe('818000010001');
  expect(answer.subarray(-4)).toEqual(Buffer.from([203, 0, 113, 5]));
});

test('an answer fits a UDP message, however many addresses and however long the name', () => {
  const label = 'a'.repeat(63);
  const query = parseQuery(question([label, label, label, 'a'.repeat(60)])) ?? expect.fail();
  const answers = Array.from({ length: 100 }, (_, index) => ({ address: `203.0.113.${index}`, ttl: 1 }));
  expect(encodeAnswer(query, RCODE.NOERROR, answers).length).toBeLessThanOrEqual(512);
});

test('a question for anything but an IPv4 address is recognised', () => {
  expect(parseQuery(question(['example', 'com'], 28))?.wantsAddress).toBe(false);
});

test.each([
  ['nothing', Buffer.alloc(0)],
  ['a header only', question([]).subarray(0, 12)],
  ['a response', Buffer.concat([Buffer.from([0, 1, 0x80, 0]), question(['example', 'com']).subarray(4)])],
  [
    'two questions',
    Buffer.concat([Buffer.from([0, 1, 1, 0, 0, 2]), question(['example', 'com']).subarray(6)]),
  ],
  ['a pointer', Buffer.concat([question([]).subarray(0, 12), Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])])],
  [
    'a label that is longer than the message',
    Buffer.concat([question([]).subarray(0, 12), Buffer.from([40, 97])]),
  ],
  ['a dot inside a label', question(['allowed.example', 'com'])],
  ['a zero inside a label', question(['allowed\0', 'com'])],
  ['a name beyond 255 bytes', question(Array.from({ length: 6 }, () => 'a'.repeat(63)))],
])('%s is no question', (_, message) => {
  expect(parseQuery(message)).toBeUndefined();
});

test('no bytes make the parser throw or read beyond the message', () => {
  const base = question(['www', 'example', 'com']);
  for (let cut = 0; cut < base.length; cut++) expect(parseQuery(base.subarray(0, cut))).toBeUndefined();
  for (let at = 0; at < base.length; at++) {
    for (const value of [0, 1, 63, 64, 127, 192, 255]) {
      const changed = Buffer.from(base);
      changed[at] = value;
      const query = parseQuery(changed);
      if (query) expect(query.name.length).toBeLessThanOrEqual(255);
    }
  }
});
