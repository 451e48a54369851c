/**
 * Reading lanes where Redis is a Cluster. A BLMPOP cannot wait on lists of two slots, so there is one reader, with a connection
 * of its own, for each list: no namespace ever waits for another. Together they take about as much as one reader would.
 */
import type { Redis } from 'ioredis';
import { LaneReader, type LaneReaderOptions } from './lane.ts';
import type { SlotConnections } from '../redis/cluster-slot.ts';
import { eachPrimary } from '../redis/redis.ts';

export interface AnyLaneReaderOptions extends Omit<LaneReaderOptions, 'blocking'> {
  /** What connectBlocking opened; nothing else uses it. */
  readonly blocking: Redis | SlotConnections;
}

export type AnyLaneReader = Pick<LaneReader, 'start' | 'wake' | 'stop'>;

/** The reader that fits the Redis there is: one BLMPOP over all lists, or one for each of them in a Cluster. */
export function openLaneReader(options: AnyLaneReaderOptions): AnyLaneReader {
  const { blocking } = options;
  return 'open' in blocking
    ? new ClusterLaneReader(options, blocking)
    : new LaneReader({ ...options, blocking });
}

interface SlotReader {
  readonly reader: LaneReader;
  /** Frames that it may be handed at any moment: as many as it asked for when it began to wait. */
  asked: number;
}

class ClusterLaneReader implements AnyLaneReader {
  readonly #options: AnyLaneReaderOptions;
  readonly #connections: SlotConnections;
  /** By list. Lists of two namespaces may share a slot, but hardly ever do. */
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

  /** Readers come and go with their lists. Nobody's wait inside Redis is ended: it is on the right list. */
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
      // Asked for each time: CLIENT UNBLOCK must go to the node that the connection is with, and both may have moved.
      get commands() {
        return commandsOf(commands, node());
      },
      keys: () => [list],
      count: () => this.#share(own),
      onFrames: (_, frames) => {
        // Handed over: they are in the account of who asked for them from here on.
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
   * How many frames this reader asks for: its part of the room that the others have not asked for, and one where there is any
   * room at all, so that none has to wait until another's wait is over. Together they may be handed one too many for each list.
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

/** The client of this node among those of the Cluster. Throws while there is none. */
function commandsOf(commands: Redis, node: { host: string; port: number } | undefined): Redis {
  const found = eachPrimary(commands).find(
    ({ options }) => options.host === node?.host && options.port === node?.port,
  );
  if (!found) throw new Error('the node that a reader waits at is not known');
  return found;
}
