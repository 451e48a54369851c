/**
 * Writes and reads the lists that carry lane frames (contract/platform/lane.ts). Frames are pushed at the tail and popped at the
 * head, so the frames of one writer arrive in the order of writing.
 */
import type { Redis } from 'ioredis';
import { type Log, LogThrottle } from '../log.ts';

/** Upper bounds on one RPUSH, so that a burst of large bodies does not block Redis for all other clients. */
const MAX_PUSH_BYTES = 8 * 1024 * 1024;
const MAX_PUSH_FRAMES = 1_000;

interface Batch {
  readonly frames: Buffer[];
  bytes: number;
  readonly done: PromiseWithResolvers<void>;
}

/**
 * Collects the frames of one turn of the event loop and sends those of each list with one RPUSH. This saves most of the cost of
 * a command. It costs no latency, because the flush runs as soon as all readable sockets have been read.
 */
export class LaneWriter {
  readonly #redis: Redis;
  #batches = new Map<string, Batch>();

  /** `redis`: a connection of the role `lane`. */
  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Resolves when Redis has the frame, rejects when Redis refused it or was unreachable. Frames of a batch share the promise. */
  push(list: string, frame: Buffer): Promise<void> {
    if (this.#batches.size === 0) setImmediate(() => this.#flush());
    let batch = this.#batches.get(list);
    if (!batch) {
      batch = { frames: [], bytes: 0, done: Promise.withResolvers() };
      this.#batches.set(list, batch);
    }
    batch.frames.push(frame);
    batch.bytes += frame.length;
    return batch.done.promise;
  }

  #flush(): void {
    const batches = this.#batches;
    this.#batches = new Map();
    for (const [list, batch] of batches) {
      const pushed =
        batch.bytes <= MAX_PUSH_BYTES && batch.frames.length <= MAX_PUSH_FRAMES
          ? this.#redis.rpush(list, ...batch.frames)
          : Promise.all(slices(batch.frames).map((frames) => this.#redis.rpush(list, ...frames)));
      pushed.then(() => batch.done.resolve(), batch.done.reject);
    }
  }
}

function slices(frames: readonly Buffer[]): Buffer[][] {
  const result: Buffer[][] = [];
  let slice: Buffer[] = [];
  let bytes = 0;
  for (const frame of frames) {
    if (slice.length > 0 && (bytes + frame.length > MAX_PUSH_BYTES || slice.length === MAX_PUSH_FRAMES)) {
      result.push(slice);
      slice = [];
      bytes = 0;
    }
    slice.push(frame);
    bytes += frame.length;
  }
  result.push(slice);
  return result;
}

/** Time limit of one BLMPOP. It bounds only the age of a dead connection, since wake() ends the wait early. */
const BLOCK_SECONDS = 2;
const BACKOFF_FIRST_MS = 20;
const BACKOFF_LAST_MS = 500;
const ERROR_LOG_INTERVAL_MS = 5_000;
/** Interval between two CLIENT UNBLOCKs for the same BLMPOP: the first may arrive before the BLMPOP does. */
const UNBLOCK_AGAIN_MS = 5;
const STOP_PATIENCE_MS = 1_000;

export interface LaneReaderOptions {
  /** A connection of the role `blocking` that nothing else uses; the reader closes it at the end. */
  readonly blocking: Redis;
  /** A connection of the role `commands` to the same server, for ending a wait early. */
  readonly commands: Redis;
  /** The lists to read, the most urgent first; called again in each round. None: wait for wake(). */
  readonly keys: () => readonly string[];
  /** Upper bound on the frames of a round; called again in each round. 0: wait for wake(). */
  readonly count: () => number;
  /** Gets the frames of one list, oldest first, at least one. */
  readonly onFrames: (list: string, frames: Buffer[]) => void;
  readonly log: Log;
}

/** Reads lists until it is stopped, through reconnects. */
export class LaneReader {
  readonly #options: LaneReaderOptions;
  readonly #errors = new LogThrottle(ERROR_LOG_INTERVAL_MS);
  #running: Promise<void> | undefined;
  #stopping = false;
  /** Id of this connection in Redis, which changes with each reconnect. */
  #clientId: number | undefined;
  /** Counts the rounds, so that a late unblock does not hit a later round. */
  #round = 0;
  #blocked = false;
  #backoff = BACKOFF_FIRST_MS;
  /** Ends a wait that is not inside Redis: for keys, for capacity, for a retry. */
  #endPause: (() => void) | undefined;

  constructor(options: LaneReaderOptions) {
    this.#options = options;
    options.blocking.on('close', () => {
      this.#clientId = undefined;
    });
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** To be called when keys() or count() have new answers: ends a wait that is based on the old ones. */
  wake(): void {
    this.#endPause?.();
    if (this.#blocked) void this.#unblock(this.#round);
  }

  /** Like wake(), but does not end a wait inside Redis. */
  resume(): void {
    this.#endPause?.();
  }

  /** Takes no more frames. Frames that Redis has already sent are still delivered before this resolves. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.wake();
    const patience = AbortSignal.timeout(STOP_PATIENCE_MS);
    const impatience = new Promise<void>((resolve) => patience.addEventListener('abort', () => resolve()));
    await Promise.race([this.#running, impatience]);
    this.#options.blocking.disconnect();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      if (!(await this.#identified())) continue;
      // There must be no await between these two calls and the BLMPOP: a wake() in between would be lost.
      const keys = this.#options.keys();
      const count = this.#options.count();
      if (keys.length === 0 || count < 1) {
        await this.#pause();
        continue;
      }
      try {
        await this.#readOnce(keys, count);
        this.#backoff = BACKOFF_FIRST_MS;
      } catch (error) {
        await this.#failed(error);
      }
    }
  }

  /** Asks Redis for the connection's id, without which a wait could not be ended. */
  async #identified(): Promise<boolean> {
    try {
      this.#clientId ??= await this.#options.blocking.client('ID');
      return true;
    } catch (error) {
      await this.#failed(error);
      return false;
    }
  }

  async #failed(error: unknown): Promise<void> {
    if (this.#stopping) return;
    this.#errors.run((heldBack) =>
      this.#options.log.warn({ error: String(error), heldBack }, 'reading the lane failed; trying again'),
    );
    await this.#pause(this.#backoff);
    this.#backoff = Math.min(this.#backoff * 2, BACKOFF_LAST_MS);
  }

  async #readOnce(keys: readonly string[], count: number): Promise<void> {
    const { blocking, onFrames, log } = this.#options;
    this.#round++;
    this.#blocked = true;
    let reply: unknown;
    try {
      reply = await blocking.callBuffer(
        'BLMPOP',
        BLOCK_SECONDS,
        keys.length,
        ...keys,
        'LEFT',
        'COUNT',
        count,
      );
    } finally {
      this.#blocked = false;
    }
    if (reply === null) return;
    const [list, frames] = reply as [Buffer, Buffer[]];
    try {
      onFrames(list.toString(), frames);
    } catch (error) {
      log.error({ error, list: list.toString() }, 'a frame of the lane could not be handled');
    }
  }

  async #unblock(round: number): Promise<void> {
    while (this.#blocked && this.#round === round && this.#clientId !== undefined) {
      try {
        if ((await this.#options.commands.client('UNBLOCK', this.#clientId)) === 1) return;
      } catch {
        return; // Redis is unavailable, so the wait has ended too
      }
      await new Promise((resolve) => setTimeout(resolve, UNBLOCK_AGAIN_MS));
    }
  }

  /** Waits for wake(), or at most for the given milliseconds. */
  async #pause(milliseconds?: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#endPause = resolve;
      if (milliseconds !== undefined) timer = setTimeout(resolve, milliseconds);
    });
    clearTimeout(timer);
    this.#endPause = undefined;
  }
}
