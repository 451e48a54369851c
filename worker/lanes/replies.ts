/**
 * Sends answers to the gateways, and recovers those whose push failed. When the connection is lost, a push may have been done or
 * not. A complete answer is pushed again, since a gateway ignores a second copy. A part of a stream could then be there twice or
 * be missing. So its call is reported as failed, and nothing more of it is sent.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { keys } from '#contract/platform/keys.ts';
import { decodeLaneFrame, encodeLaneFrame, LaneKind, type ReplyHeader } from '#contract/platform/lane.ts';
import type { LaneWriter } from '#storage/lane/lane.ts';
import { type Log, LogThrottle } from '#storage/log.ts';

const AGAIN_MS = 100;
/** Time limit for attempts: longer than a failover takes; after that the caller's deadline is near. */
const GIVE_UP_MS = 30_000;
/** Upper bound on answers held for another attempt. Beyond it, the gateway is sent a small "lost" frame instead. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;
/** Kinds of frames that are complete by themselves. */
const WHOLE: ReadonlySet<number> = new Set([LaneKind.RESULT, LaneKind.FAILED, LaneKind.TAKEN]);

export class Replies {
  readonly #writer: Pick<LaneWriter, 'push'>;
  readonly #workerId: string;
  readonly #log: Pick<Log, 'warn'>;
  readonly #complaints = new LogThrottle(5_000);
  /** Calls of which no more frames are sent, because a part of their stream was lost. */
  readonly #broken = new Set<string>();
  #held = 0;

  constructor(writer: Pick<LaneWriter, 'push'>, workerId: string, log: Pick<Log, 'warn'>) {
    this.#writer = writer;
    this.#workerId = workerId;
    this.#log = log;
  }

  send(gateway: string, frame: Buffer): void {
    // The set is nearly always empty; then no frame is decoded for its id.
    if (this.#broken.size > 0 && this.#broken.has(idOf(frame))) return;
    this.#writer.push(keys.replies(gateway), frame).catch((error: unknown) => {
      this.#complaints.run((heldBack) =>
        this.#log.warn({ error: String(error), heldBack }, 'an answer could not be handed to Redis'),
      );
      void this.#recover(gateway, frame);
    });
  }

  async #recover(gateway: string, frame: Buffer): Promise<void> {
    if (WHOLE.has(decodeLaneFrame(frame).kind) && this.#held + frame.length <= MAX_HELD_BYTES) {
      this.#held += frame.length;
      await this.#pushAgain(gateway, frame);
      this.#held -= frame.length;
      return;
    }
    const id = idOf(frame);
    if (this.#broken.has(id)) return;
    this.#broken.add(id);
    const lost: ReplyHeader = { id, worker: this.#workerId, lost: true };
    await this.#pushAgain(gateway, encodeLaneFrame(LaneKind.FAILED, lost));
    this.#broken.delete(id);
  }

  async #pushAgain(gateway: string, frame: Buffer): Promise<void> {
    const end = performance.now() + GIVE_UP_MS;
    while (performance.now() < end) {
      await sleep(AGAIN_MS);
      try {
        return await this.#writer.push(keys.replies(gateway), frame);
      } catch {
        // Redis is still away.
      }
    }
  }
}

function idOf(frame: Buffer): string {
  return (decodeLaneFrame(frame).header as ReplyHeader).id;
}
