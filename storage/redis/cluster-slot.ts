/**
 * Opens connections to the node of a Cluster that holds the slot of a key. A Cluster client cannot do this: a blocking command
 * needs a connection of its own, with an id on one node. After a failover the connection must find the new node.
 */
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis';
import type { RedisNode } from './address.ts';

/** Interval between two rounds over all nodes while no node of the Cluster answers. */
const ASK_AGAIN_MS = 250;
const ASK_TIMEOUT_MS = 2_000;

/** `slot range, primary, replicas...`, each node `host, port, id...`. */
type SlotRange = [first: number, last: number, ...nodes: [host: string | null, port: number, ...unknown[]][]];
type Stream = ReturnType<typeof connectTcp>;

/** Opens the blocking connections of a Cluster, one for each slot that is read. */
export class SlotConnections {
  readonly #nodes: readonly RedisNode[];
  readonly #options: RedisOptions;
  readonly #watch: (redis: Redis) => void;

  /** `options`: those of each connection; `watch` gets each connection, for its errors. */
  constructor(nodes: readonly RedisNode[], options: RedisOptions, watch: (redis: Redis) => void) {
    this.#nodes = nodes;
    this.#options = options;
    this.#watch = watch;
  }

  /** A connection that follows the primary of this key's slot. */
  open(key: string): SlotConnection {
    const finder = new SlotFinder(this.#nodes, this.#options, key);
    // ioredis makes its connector from a class, so each connection needs a class of its own.
    class Connector extends AbstractConnector {
      constructor() {
        super(2_000);
      }
      override async connect(): Promise<Stream> {
        this.connecting = true;
        const node = await finder.find(() => this.connecting);
        const { tls } = finder.options;
        const stream: Stream = tls ? connectTls({ ...node, ...tls }) : connectTcp(node);
        stream.once('error', (error) => {
          this.firstError = error;
        });
        this.stream = stream;
        return stream;
      }
    }
    const redis = new Redis({
      ...this.#options,
      Connector,
      replyMapping: 'legacy',
      // A node that has lost the slot answers with an error, and a reconnect asks for the new node.
      reconnectOnError: ({ message }) => /^(MOVED|READONLY|UNBLOCKED|CLUSTERDOWN)\b/.test(message),
    });
    this.#watch(redis);
    return { redis, node: () => finder.found };
  }
}

export interface SlotConnection {
  readonly redis: Redis;
  /** The node at the other end; undefined until the first connection. */
  readonly node: () => RedisNode | undefined;
}

/** Asks the nodes of a Cluster, one after the other, which node holds a slot. */
class SlotFinder {
  readonly options: RedisOptions;
  readonly #key: string;
  #nodes: readonly RedisNode[];
  #found: RedisNode | undefined;

  constructor(nodes: readonly RedisNode[], options: RedisOptions, key: string) {
    this.#nodes = nodes;
    this.options = options;
    this.#key = key;
  }

  get found(): RedisNode | undefined {
    return this.#found;
  }

  /** Asks until a node answers, or `interested` returns false. */
  async find(interested: () => boolean): Promise<RedisNode> {
    for (;;) {
      for (const node of this.#nodes) {
        const found = await this.#ask(node).catch(() => undefined);
        if (!interested()) throw new Error('Connection is closed.');
        if (found) return found;
      }
      await sleep(ASK_AGAIN_MS);
    }
  }

  async #ask(node: RedisNode): Promise<RedisNode | undefined> {
    const { username, password, tls } = this.options;
    const redis = new Redis({
      ...node,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(tls && { tls }),
      connectTimeout: ASK_TIMEOUT_MS,
      commandTimeout: ASK_TIMEOUT_MS,
      enableReadyCheck: false,
      retryStrategy: null,
      connectionName: 'offshoot-slots',
      replyMapping: 'legacy',
    });
    redis.on('error', () => undefined); // the question fails
    try {
      const [slot, answer] = await Promise.all([redis.cluster('KEYSLOT', this.#key), redis.cluster('SLOTS')]);
      return this.#read(slot, answer, node);
    } finally {
      redis.disconnect();
    }
  }

  /** Reads the answer. A node that does not know its own address omits it, and is the node that was asked. */
  #read(slot: number, ranges: readonly SlotRange[], asked: RedisNode): RedisNode | undefined {
    const all = ranges.flatMap(([, , ...nodes]) =>
      nodes.map(([host, port]) => ({ host: host || asked.host, port })),
    );
    const held = ranges.find(([first, last]) => slot >= first && slot <= last)?.[2];
    if (!held) return undefined;
    // The node that has just answered goes last, so that it is not asked first again if it knows less than the others.
    const others = all.filter(({ host, port }) => host !== asked.host || port !== asked.port);
    this.#nodes = [...new Map([...others, asked].map((one) => [`${one.host}:${one.port}`, one])).values()];
    this.#found = { host: held[0] || asked.host, port: held[1] };
    return this.#found;
  }
}
