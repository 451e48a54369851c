/**
 * Reads lanes on a Redis Cluster. A BLMPOP cannot wait on lists of two slots, so each list has a reader with a connection of its
 * own. No namespace ever waits for another. Together the readers take about as many frames as one reader would.
 */
import type { Redis } from 'ioredis';
import { LaneReader, type LaneReaderOptions } from './lane.ts';
import type { SlotConnections } from '../redis/cluster-slot.ts';
import { eachPrimary } from '../redis/redis.ts';

export interface AnyLaneReaderOptions extends Omit<LaneReaderOptions, 'blocking'> {
  /** The connections from connectBlocking; nothing else uses them. */
  readonly blocking: Redis | SlotConnections;
}

export type AnyLaneReader = Pick<LaneReader, 'start' | 'wake' | 'stop'>;

/** The reader that fits this Redis: one BLMPOP over all lists, or on a Cluster one for each list. */
export function openLaneReader(options: AnyLaneReaderOptions): AnyLaneReader {
  const { blocking } = options;
  return 'open' in blocking
    ? new ClusterLaneReader(options, blocking)
    : new LaneReader({ ...options, blocking });
}

interface SlotReader {
  readonly reader: LaneReader;
  /** Upper bound on the frames that may arrive at any moment: the number that the reader asked for when its wait began. */
  asked: number;
}

class ClusterLaneReader implements AnyLaneReader {
  readonly #options: AnyLaneReaderOptions;
  readonly #connections: SlotConnections;
  /** Readers by list. Lists of two namespaces may share a slot, but hardly ever do. */
  readonly #readers = new Map<string, SlotReader>();
  readonly #ending = new Set<Promise<void>>();
  #started = false;

  constructor(options: AnyLaneReaderOptions, connections: SlotConnections) {
    this.#options = options;
    this.#connections = connections;
  }

  start(): void {
    this.#started = true;
    this.wake();
  }

  /** Opens and closes readers with their lists. No wait inside Redis is ended, because each is on the right list. */
  wake(): void {
    if (!this.#started) return;
    const wanted = new Set(this.#options.keys());
    for (const list of this.#readers.keys()) if (!wanted.has(list)) this.#close(list);
    for (const list of wanted) {
      const known = this.#readers.get(list);
      if (known) known.reader.resume();
      else this.#open(list);
    }
  }

  async stop(): Promise<void> {
    this.#started = false;
    for (const list of this.#readers.keys()) this.#close(list);
    await Promise.all(this.#ending);
  }

  #open(list: string): void {
    const { redis, node } = this.#connections.open(list);
    const { commands } = this.#options;
    const reader = new LaneReader({
      ...this.#options,
      blocking: redis,
      // Looked up each time: CLIENT UNBLOCK must go to the node of the blocking connection, and both may have changed.
      get commands() {
        return commandsOf(commands, node());
      },
      keys: () => [list],
      count: () => this.#share(own),
      onFrames: (_, frames) => {
        // From here on, the owner of the reader counts these frames.
        own.asked = 0;
        this.#options.onFrames(list, frames);
      },
    });
    const own: SlotReader = { reader, asked: 0 };
    this.#readers.set(list, own);
    reader.start();
  }

  #close(list: string): void {
    const reader = this.#readers.get(list)?.reader;
    this.#readers.delete(list);
    if (!reader) return;
    const ending = reader.stop().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  /**
   * Number of frames that this reader asks for: its part of the room that the other readers have not asked for. It is at least
   * one where there is any room, so that no reader waits for the end of another's wait. Together the readers may get one frame
   * too many for each list.
   */
  #share(own: SlotReader): number {
    own.asked = 0;
    const room = this.#options.count();
    if (room < 1) return 0;
    let asked = 0;
    for (const other of this.#readers.values()) asked += other.asked;
    own.asked = Math.max(1, Math.min(Math.ceil(room / this.#readers.size), room - asked));
    return own.asked;
  }
}

/** The client for this node among those of the Cluster. Throws while there is none. */
function commandsOf(commands: Redis, node: { host: string; port: number } | undefined): Redis {
  const found = eachPrimary(commands).find(
    ({ options }) => options.host === node?.host && options.port === node?.port,
  );
  if (!found) throw new Error('the node that a reader waits at is not known');
  return found;
}
