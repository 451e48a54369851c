/** Records and logs of invocations, and the log of each function, as workers and gateways leave them in Redis. */
import type { Redis } from 'ioredis';
import type { FunctionLogLine, WorkerStatus } from '#contract/api.ts';
import type { AnyInvocation, FunctionSpan, InvocationRecord, LogLine } from '#contract/invocation.ts';
import type { IsolationReceipt } from '#contract/isolation.ts';
import { keys } from '#contract/keys.ts';
import { MAX_LOG_ANSWER_BYTES } from '#contract/limits.ts';
import { inSlices } from '#contract/turns.ts';
import { EVERY_NAMESPACE } from './api-keys.ts';

/** Log lines of a function, with the place in the stream at which to go on. */
export interface LogPage {
  readonly lines: { readonly line: FunctionLogLine; readonly id: string }[];
  /** Id of the last entry that was read. */
  readonly last: string;
  /** There may be more at once. */
  readonly full: boolean;
}

/** Of LOG_ENTRY_BYTES or so at most, so that neither Redis nor this process is held up by a page for long. */
const PAGE_ENTRIES = 32;
/** Lines that are read with one command. */
const PIECE_LINES = 1_000;
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
      // A function's own spans and errors may make each record as large as a record can be.
      const records = await inSlices(piece, (stored) =>
        stored === null ? undefined : (JSON.parse(stored) as AnyInvocation),
      );
      found.push(...records);
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

  /** Oldest first. Of very many, as the tries of one invocation may leave, the newest, and a line that says so. */
  async logs(id: string): Promise<LogLine[]> {
    const key = keys.logs(id);
    const [length, newest] = await Promise.all([
      this.#redis.llen(key),
      this.#redis.lrange(key, -PIECE_LINES, -1),
    ]);
    const pieces = [newest];
    let bytes = sizeOf(newest);
    // More may be printed meanwhile, so from here on places are counted from the beginning.
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
    const text = `${from} older lines are left out here: an answer has ${MAX_LOG_ANSWER_BYTES} bytes of them`;
    return [{ time: lines[0]?.time ?? 0, level: 'platform', text }, ...lines];
  }

  /** The log of an invocation; where nothing is left of what it has printed, a line that says so. */
  async logsOf(record: AnyInvocation): Promise<LogLine[]> {
    const found = await this.logs(record.id);
    const printed = (record.state === 'done' && record.report?.logBytes) || 0;
    if (found.length > 0 || printed === 0) return found;
    const text = `${printed} bytes that it has printed are not kept any more: those of its function have bounds (OFFSHOOT_KEPT_LOG_MB)`;
    return [{ time: record.startedAt, level: 'platform', text }];
  }

  /** What a function has printed after a place in its stream; of very much the newest, and how many lines that leaves out. */
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
    // Written by a worker, which has checked them.
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

/** Of a line in an answer, about: an empty one has a time, a level and an invocation as well. */
function costOf({ text }: LogLine): number {
  return text.length + 96;
}

function sizeOf(texts: readonly string[]): number {
  return texts.reduce((total, { length }) => total + length, 0);
}
