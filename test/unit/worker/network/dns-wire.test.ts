import { expect, test } from 'vitest';
import { readAnswer } from '../../../../worker/network/dns-relay.ts';
import { encodeAnswer, encodeRecords, parseQuery, RCODE } from '../../../../worker/network/dns-wire.ts';

function question(labels: readonly string[], type = 1): Buffer {
  const header = Buffer.from([0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
  const name = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([header, ...name, Buffer.from([0, 0, type, 0, 1])]);
}

test('a question is read, and answered with its own id and question', () => {
  const query = parseQuery(question(['WWW', 'Example', 'com'])) ?? expect.fail();
  expect(query).toMatchObject({ id: 0x1234, name: 'www.example.com', type: 1, maxBytes: 512 });
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

test('a question has its type, and the size that the asker can take', () => {
  const asked = question(['example', 'com'], 28);
  expect(parseQuery(asked)).toMatchObject({ type: 28, maxBytes: 512 });
  const extended = (bytes: number): Buffer =>
    Buffer.concat([asked, Buffer.from([0, 0, 41, bytes >> 8, bytes & 0xff, 0, 0, 0, 0, 0, 0])]);
  expect(parseQuery(extended(1_232))?.maxBytes).toBe(1_232);
  expect(parseQuery(extended(60_000))?.maxBytes).toBe(4_096);
  expect(parseQuery(extended(10))?.maxBytes).toBe(512);
});

test('records that do not fit are left out, and the answer says so', () => {
  const query = parseQuery(question(['example', 'com'], 16)) ?? expect.fail();
  const whole = encodeRecords(query, RCODE.NOERROR, 1, Buffer.alloc(400));
  expect([whole.length, whole.readUInt16BE(2) & 0x0200, whole.readUInt16BE(6)]).toEqual([429, 0, 1]);
  const cut = encodeRecords(query, RCODE.NOERROR, 1, Buffer.alloc(500));
  expect([cut.length, cut.readUInt16BE(2) & 0x0200, cut.readUInt16BE(6)]).toEqual([29, 0x0200, 0]);
});

test('the answer section of a name server is cut out, and a broken one is refused', () => {
  const query = Buffer.concat([question(['example', 'com'], 16)]);
  const asked = query.subarray(12);
  const record = Buffer.from([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 9, 0, 3, 2, 0x68, 0x69]);
  const head = Buffer.from([0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 1, 0, 0]);
  const more = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]);
  const message = Buffer.concat([head, asked, record, more]);
  expect(readAnswer(message, query, asked)).toEqual({ rcode: 0, count: 1, answers: record });
  for (let cut = 12; cut < head.length + asked.length + record.length; cut++)
    expect(() => readAnswer(message.subarray(0, cut), query, asked), String(cut)).toThrow();
  const other = Buffer.from(message);
  other[15] = 0x66;
  expect(() => readAnswer(other, query, asked)).toThrow('another question');
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
