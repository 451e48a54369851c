/** A request body that comes in pieces, as the function sees it. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { BodyStream } from '../../../runtime-images/node/bootstrap/handlers/body-stream.ts';

function setUp(...pieces: string[]) {
  let taken = 0;
  const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const body = new BodyStream(bytes, (count) => (taken += count));
  return { body, send: () => pieces.forEach((piece) => body.push(Buffer.from(piece))), taken: () => taken };
}

function asked(stream: ReadableStream): Request {
  const init: RequestInit & { duplex: 'half' } = { method: 'POST', body: stream, duplex: 'half' };
  return new Request('http://localhost/', init);
}

test('a body is whole for text() and for readers that want one piece, whether it comes before or after the read', async () => {
  const early = setUp('{"a":', '1}');
  early.send();
  expect(await asked(early.body.stream()).json()).toEqual({ a: 1 });
  const late = setUp('abc', 'def');
  const text = asked(late.body.stream()).text();
  await turn();
  late.send();
  expect(await text).toBe('abcdef');
  const whole = setUp('abc', 'def');
  whole.send();
  expect((await whole.body.whole()).toString()).toBe('abcdef');
});

test('a body credits only the bytes that were asked for', async () => {
  const { body, send, taken } = setUp('abc', 'def', 'ghi');
  const reader = asked(body.stream()).body?.getReader();
  send();
  await turn();
  expect(taken()).toBe(0);
  await reader?.read();
  await turn();
  expect(taken()).toBe(3);
  await reader?.cancel();
  await turn();
  expect(taken()).toBe(3);
});

test('a body can be read into the reader’s own memory, to its end', async () => {
  const { body, send } = setUp('abcde', 'fg');
  send();
  const reader = body.stream().getReader({ mode: 'byob' });
  let text = '';
  for (;;) {
    const { value, done } = await reader.read(new Uint8Array(2));
    text += Buffer.from(value ?? []).toString();
    if (done) break;
  }
  expect(text).toBe('abcdefg');
});

test('a body that comes in pieces of one buffer leaves that buffer intact', async () => {
  const frame = Buffer.alloc(6, 'abcdef');
  const body = new BodyStream(6, () => undefined);
  body.push(frame.subarray(0, 3));
  body.push(frame.subarray(3));
  const reader = body.stream().getReader();
  const { value } = await reader.read();
  // A byte stream detaches each buffer that it gets; a detached buffer has no length.
  expect([Buffer.from(value ?? []).toString(), frame.length]).toEqual(['abc', 6]);
  expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe('def');
});
