/** Records and logs of invocations, and the log of each function, as workers and gateways leave them in Redis. */
import type { Redis } from 'ioredis';
import type { FunctionLogLine, WorkerStatus } from '#contract/api.ts';
import type { AnyInvocation, InvocationRecord, LogLine } from '#contract/invocation.ts';
import type { IsolationReceipt } from '#contract/isolation.ts';
import { keys } from '#contract/keys.ts';
import { EVERY_NAMESPACE } from './api-keys.ts';

/** Log lines of a function, with the place in the stream at which to go on. */
export interface LogPage {
  readonly lines: { readonly line: FunctionLogLine; readonly id: string }[];
  /** Id of the last entry that was read. */
  readonly last: string;
}

const PAGE_ENTRIES = 500;
/** Records that are read with one command. */
const PIECE_RECORDS = 500;

export class InvocationStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async find(id: string): Promise<AnyInvocation | undefined> {
    const stored = await this.#redis.get(keys.invocation(id));
    // Written by a gateway with the type of the contract; checking each of a thousand again would be slow and find nothing.
    return stored === null ? undefined : (JSON.parse(stored) as AnyInvocation);
  }

  /** What the sandbox of an invocation was isolated by; undefined when none ran it. */
  async isolation({ report }: InvocationRecord): Promise<IsolationReceipt | undefined> {
    if (report?.sandbox === undefined) return undefined;
    const stored = await this.#redis.get(keys.isolation(report.worker, report.sandbox));
    return stored === null ? undefined : (JSON.parse(stored) as IsolationReceipt);
  }

  /** In the order of the ids; what has expired is undefined. Pieces, so that neither Redis nor this process is held up. */
  async findAll(ids: readonly string[]): Promise<(AnyInvocation | undefined)[]> {
    const found: (AnyInvocation | undefined)[] = [];
    const read = async (from: number): Promise<(string | null)[]> => {
      const piece = ids.slice(from, from + PIECE_RECORDS).map((id) => keys.invocation(id));
      return piece.length === 0 ? [] : await this.#get(piece);
    };
    let next = read(0);
    for (let from = PIECE_RECORDS; found.length < ids.length; from += PIECE_RECORDS) {
      const piece = await next;
      // Redis looks for the next ones while these are parsed.
      next = read(from);
      for (const stored of piece)
        found.push(stored === null ? undefined : (JSON.parse(stored) as AnyInvocation));
    }
    await next;
    return found;
  }

  /** On a Cluster they lie in many slots, which one command may not name. */
  async #get(wanted: string[]): Promise<(string | null)[]> {
    if (!this.#redis.isCluster) return await this.#redis.mget(wanted);
    return await Promise.all(wanted.map((key) => this.#redis.get(key)));
  }

  /** Ids of the newest invocations of a function that began at `since` or later, newest first. */
  async recentIds(namespace: string, name: string, since: number, limit: number): Promise<string[]> {
    const recent = keys.recent(namespace, name);
    return await this.#redis.zrange(recent, '+inf', String(since), 'BYSCORE', 'REV', 'LIMIT', 0, limit);
  }

  /** The newest invocations of a function, newest first: only which, and when they began. */
  async newest(
    namespace: string,
    name: string,
    limit: number,
  ): Promise<{ readonly id: string; readonly startedAt: number }[]> {
    const found = await this.#redis.zrevrange(keys.recent(namespace, name), 0, limit - 1, 'WITHSCORES');
    return found.flatMap((id, at) => (at % 2 === 0 ? [{ id, startedAt: Number(found[at + 1]) }] : []));
  }

  /** Newest first. Records that have expired are left out. */
  async recent(namespace: string, name: string, limit: number): Promise<AnyInvocation[]> {
    const ids = await this.#redis.zrevrange(keys.recent(namespace, name), 0, limit - 1);
    const found = await this.findAll(ids);
    return found.filter((record) => record !== undefined);
  }

  async logs(id: string): Promise<LogLine[]> {
    const stored = await this.#redis.lrange(keys.logs(id), 0, -1);
    return stored.map((line) => JSON.parse(line) as LogLine);
  }

  /** Log lines of a function after a place in its stream; `0` is the beginning. */
  async logPage(namespace: string, name: string, after: string): Promise<LogPage> {
    const entries = await this.#redis.xrange(
      keys.logStream(namespace, name),
      `(${after}`,
      '+',
      'COUNT',
      PAGE_ENTRIES,
    );
    const lines: LogPage['lines'] = [];
    for (const [id, fields] of entries) {
      const field = (key: string): string => fields[fields.indexOf(key) + 1] ?? '';
      for (const line of JSON.parse(field('l')) as LogLine[]) {
        lines.push({ id, line: { ...line, invocation: field('i') } });
      }
    }
    return { lines, last: entries.at(-1)?.[0] ?? after };
  }

  /** The place at the end of a function's log, from which only what comes later is read. */
  async endOfLog(namespace: string, name: string): Promise<string> {
    const last = await this.#redis.xrevrange(keys.logStream(namespace, name), '+', '-', 'COUNT', 1);
    return last[0]?.[0] ?? '0';
  }

  /** Workers that are alive, by id. Other namespaces than the reader's are not named. */
  async workers(namespace = EVERY_NAMESPACE): Promise<WorkerStatus[]> {
    const ids = await this.#redis.zrange(keys.workers(), 0, '-1');
    const stored = await Promise.all(ids.map((id) => this.#redis.get(keys.worker(id))));
    const workers = stored.filter((one) => one !== null).map((one) => JSON.parse(one) as WorkerStatus);
    if (namespace === EVERY_NAMESPACE) return workers;
    return workers.map(({ pools = [], queuedEnded = {}, ...worker }) => ({
      ...worker,
      queuedEnded: Object.fromEntries(Object.entries(queuedEnded).filter(([of]) => of === namespace)),
      pools: pools.filter((pool) => pool.namespace === namespace),
    }));
  }
}
