/** How a request body is passed on to a sandbox: the bounds that hold it back, and the messages of the sandbox. */
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { BODY_PIECE_BYTES, BODY_WINDOW_BYTES } from '#contract/wire/channel.ts';
import { BodyFeed } from '../../../../worker/run/body-feed.ts';

function credit(bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32LE(bytes);
  return payload;
}

interface Setup {
  readonly bytes?: number;
  readonly announced?: number;
  readonly missing?: boolean;
  /** Whether the socket takes more bytes. */
  readonly room?: () => Promise<void>;
}

function setUp({ bytes = 0, announced = bytes, missing = false, room = async () => undefined }: Setup) {
  const source = Readable.from([Buffer.alloc(bytes, 7)], { objectMode: false });
  const sent: number[] = [];
  const failures: string[] = [];
  const feed = new BodyFeed({
    body: { bytes: announced, open: () => Promise.resolve(missing ? undefined : source) },
    send: async (piece) => {
      sent.push(piece.length);
      await room();
    },
    failed: (reason) => failures.push(reason),
  });
  const total = (): number => sent.reduce((sum, length) => sum + length, 0);
  return { feed, source, sent, total, failures };
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < 50; turns++) await turn();
}

describe('a request body on its way into a sandbox', () => {
  test('a body stops at its window, and goes on by the bytes that the function has taken', async () => {
    const { feed, sent, total, failures, source } = setUp({ bytes: 10 * BODY_WINDOW_BYTES + 5 });
    feed.start();
    await settle();
    expect(total()).toBe(BODY_WINDOW_BYTES);
    expect(feed.credit(credit(BODY_PIECE_BYTES))).toBe(true);
    await settle();
    expect(total()).toBe(BODY_WINDOW_BYTES + BODY_PIECE_BYTES);
    for (let left = total(); left > 0; left--) {
      if (!feed.credit(credit(BODY_PIECE_BYTES))) break;
      await settle();
    }
    expect(total()).toBe(10 * BODY_WINDOW_BYTES + 5);
    expect(Math.max(...sent)).toBe(BODY_PIECE_BYTES);
    expect(failures).toEqual([]);
    expect(source.destroyed).toBe(true);
  });

  test('a body stops when the socket takes no more, whatever credit the sandbox gives', async () => {
    const { feed, sent } = setUp({ bytes: 10 * BODY_WINDOW_BYTES, room: () => new Promise(() => undefined) });
    feed.start();
    await settle();
    expect(sent).toEqual([BODY_PIECE_BYTES]);
    expect(feed.credit(credit(BODY_PIECE_BYTES))).toBe(true);
    await settle();
    expect(sent).toEqual([BODY_PIECE_BYTES]);
  });

  test.each([
    ['more than was sent', credit(BODY_WINDOW_BYTES + 1)],
    ['nothing', credit(0)],
    ['no number', Buffer.alloc(3)],
    ['too much of one', Buffer.alloc(8, 1)],
  ])('a body ignores a credit of %s [CA12]', async (_, payload) => {
    const { feed } = setUp({ bytes: 10 * BODY_WINDOW_BYTES });
    expect(feed.credit(payload), 'before it has begun').toBe(false);
    feed.start();
    await settle();
    expect(feed.credit(payload)).toBe(false);
  });

  test.each([
    ['is not there', { missing: true, bytes: 5 }, /not in the artifact store/],
    ['is shorter than announced', { bytes: 5, announced: 6 }, /another length/],
    ['is longer than announced', { bytes: 7, announced: 6 }, /another length/],
  ])('a body that %s fails', async (_, setup, reason) => {
    const { feed, failures } = setUp(setup);
    feed.start();
    await settle();
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatch(reason);
  });

  test('a body that is stopped closes its blob, also before it has been opened', async () => {
    const running = setUp({ bytes: 10 * BODY_WINDOW_BYTES });
    running.feed.start();
    await settle();
    running.feed.stop();
    await settle();
    expect(running.source.destroyed).toBe(true);

    const early = setUp({ bytes: 10 });
    early.feed.start();
    early.feed.stop();
    await settle();
    expect(early.source.destroyed).toBe(true);
    expect([...early.sent, ...early.failures, ...running.failures]).toEqual([]);
  });
});
