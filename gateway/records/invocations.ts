/** Reads the records and logs of invocations, and the log of each function, which workers and gateways write to Redis. */
import type { Redis } from 'ioredis';
import type { FunctionLogLine, WorkerStatus } from '#contract/api/api.ts';
import type {
  AnyInvocation,
  FunctionSpan,
  InvocationRecord,
  LogLine,
} from '#contract/invocations/invocation.ts';
import type { IsolationReceipt } from '#contract/functions/isolation.ts';
import { keys } from '#contract/platform/keys.ts';
import { MAX_LOG_ANSWER_BYTES } from '#contract/functions/limits.ts';
import { inSlices } from '#contract/platform/slices.ts';
import { EVERY_NAMESPACE } from '#contract/functions/names.ts';

/** Log lines of a function, with the place in the stream at which to continue. */
export interface LogPage {
  readonly lines: { readonly line: FunctionLogLine; readonly id: string }[];
  /** Id of the last entry that was read. */
  readonly last: string;
  /** Further entries may be there already. */
  readonly full: boolean;
}

/** Entries in a page, of about LOG_ENTRY_BYTES at most, so that a page blocks neither Redis nor this process for long. */
const PAGE_ENTRIES = 32;
/** Upper bound on the lines that one command reads. */
const PIECE_LINES = 1_000;
/** Upper bound on the records that one command reads. */
const PIECE_RECORDS = 500;

export class InvocationStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async find(id: string): Promise<AnyInvocation | undefined> {
    const stored = await this.#redis.get(keys.invocation(id));
    // The platform has written it with the type of the contract; checking a thousand again would be slow and find nothing.
    return stored === null ? undefined : (JSON.parse(stored) as AnyInvocation);
  }

  /** The isolation receipt of an invocation's sandbox; undefined when no sandbox ran the invocation. */
  async isolation({ report }: InvocationRecord): Promise<IsolationReceipt | undefined> {
    if (report?.sandbox === undefined) return undefined;
    const stored = await this.#redis.get(keys.isolation(report.worker, report.sandbox));
    return stored === null ? undefined : (JSON.parse(stored) as IsolationReceipt);
  }

  /** Records in the order of the ids; expired ones are undefined. Read in pieces, to block neither Redis nor this process. */
  async findAll(ids: readonly string[]): Promise<(AnyInvocation | undefined)[]> {
    const found: (AnyInvocation | undefined)[] = [];
    const read = async (from: number): Promise<(string | null)[]> => {
      const piece = ids.slice(from, from + PIECE_RECORDS).map((id) => keys.invocation(id));
      return piece.length === 0 ? [] : await this.#get(piece);
    };
    let next = read(0);
    for (let from = PIECE_RECORDS; found.length < ids.length; from += PIECE_RECORDS) {
      const piece = await next;
      // Redis reads the next piece while this one is parsed.
      next = read(from);
      // Parsed in slices, because a function's spans and errors may bring each record to its largest size.
      const records = await inSlices(piece, (stored) =>
        stored === null ? undefined : (JSON.parse(stored) as AnyInvocation),
      );
      found.push(...records);
    }
    await next;
    return found;
  }

  /** Reads some keys. On a Cluster they are in many slots, which one command may not mix. */
  async #get(wanted: string[]): Promise<(string | null)[]> {
    if (!this.#redis.isCluster) return await this.#redis.mget(wanted);
    return await Promise.all(wanted.map((key) => this.#redis.get(key)));
  }

  /** Ids of the newest invocations of a function that began at `since` or later, newest first. */
  async recentIds(namespace: string, name: string, since: number, limit: number): Promise<string[]> {
    const recent = keys.recent(namespace, name);
    return await this.#redis.zrange(recent, '+inf', String(since), 'BYSCORE', 'REV', 'LIMIT', 0, limit);
  }

  /** The newest invocations of a function, newest first: only ids and start times. */
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

  /** Lines, oldest first. If the attempts have left very many, only the newest, behind a line that says so. */
  async logs(id: string): Promise<LogLine[]> {
    const key = keys.logs(id);
    const [length, newest] = await Promise.all([
      this.#redis.llen(key),
      this.#redis.lrange(key, -PIECE_LINES, -1),
    ]);
    const pieces = [newest];
    let bytes = sizeOf(newest);
    // Lines may be added meanwhile, so from here on places are counted from the beginning.
    let from = Math.max(0, length - newest.length);
    while (from > 0 && bytes < MAX_LOG_ANSWER_BYTES) {
      const start = Math.max(0, from - PIECE_LINES);
      const piece = await this.#redis.lrange(key, start, from - 1);
      pieces.unshift(piece);
      bytes += sizeOf(piece);
      from = start;
    }
    const stored = pieces.flat();
    for (; bytes > MAX_LOG_ANSWER_BYTES; from++) bytes -= stored.shift()?.length ?? bytes;
    const lines = await inSlices(stored, (line) => JSON.parse(line) as LogLine);
    if (from === 0) return lines;
    const text = `${from} older lines are left out here: an answer has at most ${MAX_LOG_ANSWER_BYTES} bytes of lines`;
    return [{ time: lines[0]?.time ?? 0, level: 'platform', text }, ...lines];
  }

  /** The log of an invocation. When all its output has been removed, a line that says so. */
  async logsOf(record: AnyInvocation): Promise<LogLine[]> {
    const found = await this.logs(record.id);
    const printed = (record.state === 'done' && record.report?.logBytes) || 0;
    if (found.length > 0 || printed === 0) return found;
    const text = `its output of ${printed} bytes is no longer kept: the log of its function is bounded (OFFSHOOT_KEPT_LOG_MB)`;
    return [{ time: record.startedAt, level: 'platform', text }];
  }

  /** The output of a function after a place in its stream. Of very much, only the newest, with the number of older lines. */
  async functionLog(
    namespace: string,
    name: string,
    start: string,
  ): Promise<{ logs: FunctionLogLine[]; olderLines: number }> {
    let logs: FunctionLogLine[] = [];
    let bytes = 0;
    let olderLines = 0;
    for (let after = start, full = true; full;) {
      const page = await this.logPage(namespace, name, after);
      for (const { line } of page.lines) bytes += costOf(line);
      logs.push(...page.lines.map(({ line }) => line));
      let over = 0;
      for (; bytes > MAX_LOG_ANSWER_BYTES; over++) {
        const oldest = logs[over];
        bytes -= oldest ? costOf(oldest) : bytes;
      }
      if (over > 0) logs = logs.slice(over);
      olderLines += over;
      ({ full, last: after } = page);
    }
    return { logs, olderLines };
  }

  /** The record, with the function's own spans that began after its answer. */
  async withLateSpans(record: InvocationRecord): Promise<InvocationRecord> {
    const { report } = record;
    // A worker has checked and written them.
    const stored = report ? await this.#redis.lrange(keys.lateSpans(record.id), 0, -1) : [];
    if (!report || stored.length === 0) return record;
    const late = await inSlices(stored, (span) => JSON.parse(span) as FunctionSpan);
    return { ...record, report: { ...report, spans: [...(report.spans ?? []), ...late] } };
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
    const read = entries.map(([id, fields]) => {
      const field = (key: string): string => fields[fields.indexOf(key) + 1] ?? '';
      return { id, invocation: field('i'), text: field('l'), length: field('l').length };
    });
    await inSlices(read, ({ id, invocation, text }) => {
      const of = invocation !== '' && { invocation };
      for (const line of JSON.parse(text) as LogLine[]) lines.push({ id, line: { ...line, ...of } });
    });
    return { lines, last: entries.at(-1)?.[0] ?? after, full: entries.length === PAGE_ENTRIES };
  }

  /** The place at the end of a function's log; reading from there gives only later lines. */
  async endOfLog(namespace: string, name: string): Promise<string> {
    const last = await this.#redis.xrevrange(keys.logStream(namespace, name), '+', '-', 'COUNT', 1);
    return last[0]?.[0] ?? '0';
  }

  /** Status of all living workers, without the figures of namespaces that are not the reader's. */
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

/** Approximate bytes of a line in an answer: an empty line has a time, a level and an invocation as well. */
function costOf({ text }: LogLine): number {
  return text.length + 96;
}

function sizeOf(texts: readonly string[]): number {
  return texts.reduce((total, { length }) => total + length, 0);
}
