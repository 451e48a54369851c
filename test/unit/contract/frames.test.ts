import { describe, expect, test } from 'vitest';
import {
  CHANNEL_PREFIX_BYTES,
  ChannelKind,
  ChannelReader,
  encodeChannelFrame,
} from '#contract/wire/channel.ts';
import { decodeLaneFrame, encodeLaneFrame, LaneKind } from '#contract/platform/lane.ts';
import { decodePayload, encodePayload } from '#contract/wire/payload.ts';

describe('lane frames', () => {
  test('lane frames carry a header and bytes that no encoding touches', () => {
    const body = Buffer.from([0, 255, 10, 13, 128]);
    const frame = decodeLaneFrame(
      encodeLaneFrame(LaneKind.RESULT, { id: 'ü' }, body.subarray(0, 2), body.subarray(2)),
    );
    expect(frame.kind).toBe(LaneKind.RESULT);
    expect(frame.header).toEqual({ id: 'ü' });
    expect(frame.body.equals(body)).toBe(true);
  });
  test.each([
    ['too short', Buffer.from([1, 1])],
    ['another version', Buffer.from([9, 1, 0, 0, 0, 0])],
    ['a header longer than the frame', Buffer.from([1, 1, 255, 0, 0, 0])],
  ])('lane frames refuse %s', (_, frame) => {
    expect(() => decodeLaneFrame(frame)).toThrow(/lane frame/);
  });
});

describe('payloads', () => {
  test('payloads are decoded as they were encoded', () => {
    const meta = {
      status: 201,
      headers: [
        ['set-cookie', 'a=1'],
        ['set-cookie', 'b=2'],
      ] as [string, string][],
    };
    const { meta: back, body } = decodePayload(encodePayload(meta, Buffer.from('x')));
    expect(back).toEqual(meta);
    expect(body.toString()).toBe('x');
  });
  test('payloads whose lengths do not add up are refused', () => {
    expect(() => decodePayload(Buffer.from([9, 0, 0, 0, 1]))).toThrow(/payload/);
    expect(() => decodePayload(Buffer.alloc(3))).toThrow(/payload/);
  });
});

describe('ChannelReader', () => {
  const frames = [
    encodeChannelFrame(ChannelKind.LOG, 7, Buffer.from('hello')),
    encodeChannelFrame(ChannelKind.SETTLED, 7),
    encodeChannelFrame(ChannelKind.CHUNK, 8, Buffer.alloc(5_000, 'x')),
  ];
  const stream = Buffer.concat(frames);
  const read = (pieces: Buffer[]): [number, number, number][] => {
    const seen: [number, number, number][] = [];
    const reader = new ChannelReader(10_000, (kind, handle, payload) =>
      seen.push([kind, handle, payload.length]),
    );
    for (const piece of pieces) reader.push(piece);
    return seen;
  };
  const expected = [
    [ChannelKind.LOG, 7, 5],
    [ChannelKind.SETTLED, 7, 0],
    [ChannelKind.CHUNK, 8, 5_000],
  ];

  test.each([1, 2, 3, 5, 13, 1_000, stream.length])(
    'ChannelReader gives the same frames wherever the bytes are cut: pieces of %d',
    (size) => {
      const pieces = [];
      for (let at = 0; at < stream.length; at += size) pieces.push(stream.subarray(at, at + size));
      expect(read(pieces)).toEqual(expected);
    },
  );

  test('ChannelReader refuses a frame over the limit by its length alone, before its bytes have come', () => {
    const reader = new ChannelReader(100, () => undefined);
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(101, 0);
    expect(() => reader.push(prefix)).toThrow(/101 bytes/);
  });

  test('ChannelReader refuses a frame that is too short for a kind and a handle', () => {
    const reader = new ChannelReader(100, () => undefined);
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(CHANNEL_PREFIX_BYTES - 5, 0);
    expect(() => reader.push(prefix)).toThrow(/frame/);
  });
});
