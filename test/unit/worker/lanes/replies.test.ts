/**
 * Answers whose push fails, as when the connection to Redis is lost: a whole answer arrives later, a stream ends as
 * failed.
 */
import { pino } from 'pino';
import { expect, test, vi } from 'vitest';
import { decodeLaneFrame, encodeLaneFrame, LaneKind, type ReplyHeader } from '#contract/platform/lane.ts';
import { Replies } from '../../../../worker/lanes/replies.ts';

const QUIET = pino({ level: 'silent' });

/** A writer whose pushes fail while `isAway`, and the frames that it took: kind, id and whether they report a loss. */
function away(): { isAway: boolean; taken: string[]; replies: Replies } {
  const state = { isAway: true, taken: [] as string[] };
  const push = (_list: string, frame: Buffer): Promise<void> => {
    if (state.isAway) return Promise.reject(new Error('the connection was lost'));
    const { kind, header } = decodeLaneFrame(frame);
    const { id, lost } = header as ReplyHeader;
    state.taken.push(`${kind} ${id}${lost ? ' lost' : ''}`);
    return Promise.resolve();
  };
  return Object.assign(state, { replies: new Replies({ push }, 'w', QUIET) });
}

const frame = (kind: LaneKind, id: string, bytes = 1): Buffer =>
  encodeLaneFrame(kind, { id, worker: 'w' }, Buffer.alloc(bytes));

test('a whole answer is pushed again until Redis has it [CA14]', async () => {
  const state = away();
  state.replies.send('g', frame(LaneKind.RESULT, 'a'));
  state.replies.send('g', frame(LaneKind.FAILED, 'b'));
  await new Promise((resolve) => setTimeout(resolve, 250));
  expect(state.taken).toEqual([]);
  state.isAway = false;
  await vi.waitFor(() => expect(state.taken).toEqual([`${LaneKind.RESULT} a`, `${LaneKind.FAILED} b`]));
});

test('after a lost part, a stream sends nothing more except the report of the loss [CA14]', async () => {
  const state = away();
  state.isAway = false;
  state.replies.send('g', frame(LaneKind.HEAD, 'a'));
  state.isAway = true;
  state.replies.send('g', frame(LaneKind.CHUNK, 'a'));
  state.replies.send('g', frame(LaneKind.CHUNK, 'a'));
  await new Promise((resolve) => setImmediate(resolve));
  state.isAway = false;
  state.replies.send('g', frame(LaneKind.CHUNK, 'a'));
  state.replies.send('g', frame(LaneKind.CHUNK, 'b'));
  await vi.waitFor(() => expect(state.taken).toContain(`${LaneKind.FAILED} a lost`));
  expect(state.taken).toEqual([`${LaneKind.HEAD} a`, `${LaneKind.CHUNK} b`, `${LaneKind.FAILED} a lost`]);
});

test('an answer that does not fit beside the waiting ones is reported as lost', async () => {
  const state = away();
  for (const id of ['a', 'b', 'c']) state.replies.send('g', frame(LaneKind.RESULT, id, 30 * 1024 * 1024));
  await new Promise((resolve) => setImmediate(resolve));
  state.isAway = false;
  await vi.waitFor(() => expect(state.taken).toHaveLength(3));
  expect(state.taken.toSorted()).toEqual(
    [`${LaneKind.RESULT} a`, `${LaneKind.RESULT} b`, `${LaneKind.FAILED} c lost`].toSorted(),
  );
});
