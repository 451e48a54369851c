/**
 * Runs one attempt of a group of a batch. It runs the unfinished items all at once through `queue()`, or one by one where the
 * function has none. It only reports the results; run-invocation.ts decides what follows.
 */
import type {
  Canceller,
  FunctionError,
  FunctionSpan,
  OpenInvocation,
  RunReport,
} from '#contract/invocations/invocation.ts';
import { isFailure } from '#contract/invocations/outcome.ts';
import type { CallHeader } from '#contract/platform/lane.ts';
import {
  MAX_GROUP_RESULT_BYTES,
  MAX_ITEM_RESULT_BYTES,
  MAX_RESPONSE_META_BYTES,
} from '#contract/functions/limits.ts';
import { nextSlice } from '#contract/platform/slices.ts';
import { encodePayload, jsonMeta, type RequestMeta } from '#contract/wire/payload.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { GroupResults, type Item, type KeptResult } from '#storage/queued/groups.ts';
import { Execution, type ExecuteDeps } from '../run/execute.ts';
import { MAX_RUN_SPAN_BYTES, MAX_RUN_SPANS } from '../run/function-spans.ts';
import { LogAllowance } from '../run/log-allowance.ts';
import { Collector, type Collected } from './collector.ts';
import { endOfItem, oneByOne, type ItemEnd, type SparePermits } from './one-by-one.ts';
import { failed, isQueueless, readBatchAnswers } from './batch-answer.ts';

/** Upper bound on kinds of refused calls and destinations that a group's report names. */
const MAX_LISTED = 64;
export interface GroupDeps extends Omit<ExecuteDeps, 'reply'> {
  /** Permits for items that run beside the first of their group, whose permit comes with the job. */
  readonly spare: SparePermits;
}

export interface GroupEnd {
  readonly results: readonly KeptResult[];
  /** Report of the run, or of the runs of all items together. */
  readonly report?: RunReport | undefined;
  /** The longest delay that the function asked for. */
  readonly retryAfterMs: number;
  /** Set if the group was cancelled while it ran. */
  readonly cancelledBy?: Canceller | undefined;
}

/** Versions without `queue()`, as far as this worker has learnt. */
const queueless = new Set<string>();

export class GroupRun {
  readonly #deps: GroupDeps;
  readonly #call: CallHeader;
  readonly #batch: string;
  readonly #executions = new Set<Execution>();
  readonly #settled: Promise<void>[] = [];
  /** Reports of items that ran by themselves. */
  readonly #reports: RunReport[] = [];
  #spans = 0;
  readonly #alone: boolean;
  readonly #logAllowance = new LogAllowance();
  /** Set once a cancel was asked for; `by` is absent if the result is discarded. */
  #cancel: { readonly by: Canceller | undefined } | undefined;

  /** `alone`: one item at a time, because the function's concurrency is limited. */
  constructor(record: OpenInvocation, call: CallHeader, deps: GroupDeps, alone: boolean) {
    this.#alone = alone;
    this.#batch = record.batch?.id ?? '';
    this.#call = call;
    this.#deps = deps;
  }

  /** Ends the runs of the group. Without `by`, its result is discarded. */
  cancel(by?: Canceller): void {
    this.#cancel ??= { by };
    for (const execution of this.#executions) execution.cancel(by);
  }

  /** Does nothing: a group's answer is not streamed. */
  credit(): void {}

  /** Resolves when no run of the group is left. */
  async settled(): Promise<void> {
    await Promise.all(this.#settled);
  }

  /** Runs these items. `known`: earlier results of the group's items, which are kept beside the new ones. */
  async run(items: readonly Item[], known: ReadonlyMap<number, KeptResult>): Promise<GroupEnd> {
    const end = await this.#run(items, known);
    return { ...end, cancelledBy: this.#cancel?.by };
  }

  async #run(items: readonly Item[], known: ReadonlyMap<number, KeptResult>): Promise<GroupEnd> {
    const { namespace, name, version } = this.#call;
    const key = `${namespace}/${name}@${version}`;
    const now = new Set(items.map(({ index }) => index));
    const results = new GroupResults([...known.values()].filter(({ index }) => !now.has(index)));
    if (!queueless.has(key)) {
      const end = await this.#together(items, results);
      if (end) return end;
      queueless.add(key);
    }
    const begun = performance.now();
    const { retryAfterMs } = await this.#oneByOne(items, results);
    const report = mergedReport(this.#reports, performance.now() - begun);
    return { results: results.kept, report, retryAfterMs };
  }

  /** Runs all items through `queue()`. Returns undefined when the function has none. */
  async #together(items: readonly Item[], results: GroupResults): Promise<GroupEnd | undefined> {
    // A megabyte is assembled here, and many groups start together.
    await nextSlice();
    const collected = await this.#execute(requestOf(this.#batch, items), MAX_GROUP_RESULT_BYTES);
    const { report, payload } = collected;
    if (payload && isQueueless(payload)) return undefined;
    if (!payload) {
      for (const item of items) results.add(failed(item, report.outcome, errorOf(report)));
      return { results: results.kept, report, retryAfterMs: 0 };
    }
    const { retryAfterMs } = await readBatchAnswers(payload, items, results);
    return { results: results.kept, report, retryAfterMs };
  }

  #oneByOne(items: readonly Item[], results: GroupResults): Promise<{ retryAfterMs: number }> {
    return oneByOne(items, results, {
      spare: this.#deps.spare,
      alone: this.#alone,
      run: (item) => (this.#cancel ? { result: failed(item, 'cancelled') } : this.#one(item)),
    });
  }

  /**
   * Keeps a report, but not its spans once one record's limit is reached: the spans of a thousand items would fill the worker.
   */
  #keepReport(report: RunReport): void {
    const { spans = [], spansDropped = 0, ...rest } = report;
    const isFull = this.#spans >= MAX_RUN_SPANS;
    this.#spans += spans.length;
    this.#reports.push(isFull ? { ...rest, spansDropped: spansDropped + spans.length } : report);
  }

  async #one(item: Item): Promise<ItemEnd> {
    const { report, payload } = await this.#execute(
      encodePayload(jsonMeta('event'), item.body),
      MAX_ITEM_RESULT_BYTES + MAX_RESPONSE_META_BYTES,
      item.index,
    );
    this.#keepReport(report);
    if (!payload) return { result: failed(item, report.outcome, errorOf(report)) };
    return endOfItem(item, payload, sharedNow());
  }

  /** Runs a payload in a sandbox. `item`: index of an item that runs by itself. */
  async #execute(payload: Buffer, maxBytes: number, item?: number): Promise<Collected> {
    const collector = new Collector(this.#deps.blobs);
    const call = item === undefined ? this.#call : { ...this.#call, item };
    const execution = new Execution(call, {
      ...this.#deps,
      logAllowance: this.#logAllowance,
      reply: (_, frame) => collector.onFrame(frame),
    });
    collector.execution = execution;
    this.#executions.add(execution);
    if (this.#cancel) execution.cancel(this.#cancel.by);
    this.#settled.push(execution.execute(payload));
    try {
      return await this.#whole(await collector.ended, maxBytes);
    } finally {
      this.#executions.delete(execution);
    }
  }

  /** Adds the body from the artifact store to the response, if the body is no larger than `maxBytes`. */
  async #whole(collected: Collected, maxBytes: number): Promise<Collected> {
    const { report, payload, blob } = collected;
    if (!blob) return collected;
    const { blobs } = this.#deps;
    const body = blob.bytes > maxBytes ? undefined : await blobs.read(blob.key);
    await blobs.remove(blob.key);
    if (!body || !payload) return { report: { ...report, outcome: 'response_too_large' } };
    return { report, payload: Buffer.concat([payload, body]) };
  }
}

function requestOf(id: string, items: readonly Item[]): Buffer {
  const meta: RequestMeta = { kind: 'batch', method: 'POST', url: 'http://localhost/', headers: [] };
  // The gateway has checked that the items are JSON; here they are only put together.
  const parts: Buffer[] = [Buffer.from(`{"id":${JSON.stringify(id)},"items":[`)];
  for (const [at, { index, tries, body }] of items.entries()) {
    parts.push(
      Buffer.from(`${at > 0 ? ',' : ''}{"index":${index},"tries":${tries + 1},"body":`),
      body,
      CLOSE,
    );
  }
  parts.push(Buffer.from(']}'));
  return encodePayload(meta, Buffer.concat(parts));
}
const CLOSE = Buffer.from('}');

/**
 * Merges the reports of items run one by one into a single report for the group; spans are capped as for one run. `total`:
 * duration from the first run to the last, in milliseconds.
 */
export function mergedReport(reports: readonly RunReport[], total: number): RunReport | undefined {
  const [first] = reports.toSorted((a, b) => (a.ranAt ?? Infinity) - (b.ranAt ?? Infinity));
  if (!first) return undefined;
  const { acquire, init } = first.timings;
  const sum = (of: (report: RunReport) => number): number =>
    reports.reduce((all, report) => all + of(report), 0);
  const spans: FunctionSpan[] = [];
  let dropped = sum(({ spansDropped = 0 }) => spansDropped);
  let room = MAX_RUN_SPAN_BYTES;
  for (const span of reports.flatMap((report) => report.spans ?? [])) {
    room -= JSON.stringify(span).length;
    // Once a span is left out, so are all after it, which may be its children.
    if (room < 0 || spans.length >= MAX_RUN_SPANS) dropped++;
    else spans.push(span);
  }
  const linesDropped = sum(({ logLinesDropped = 0 }) => logLinesDropped);
  const pidsRefused = sum(({ pidsRefused: refused = 0 }) => refused);
  const denied = reports.flatMap((report) => report.denied ?? []);
  const refusedCalls = [...new Set(reports.flatMap((report) => report.refusedCalls ?? []))];
  const usages = reports.flatMap(({ usage }) => (usage ? [usage] : []));
  return {
    outcome: reports.find(({ outcome }) => isFailure(outcome))?.outcome ?? 'ok',
    worker: first.worker,
    ...(first.acquired && { acquired: first.acquired }),
    ...(first.coldReason && { coldReason: first.coldReason }),
    ...(first.ranAt !== undefined && { ranAt: first.ranAt }),
    timings: { acquire, init, run: Math.max(0, total - acquire - init), total },
    ...(usages.length > 0 && {
      usage: {
        cpu: usages.reduce((all, { cpu }) => all + cpu, 0),
        memoryPeak: Math.max(...usages.map(({ memoryPeak }) => memoryPeak)),
      },
    }),
    logBytes: sum(({ logBytes }) => logBytes),
    logBytesDropped: sum(({ logBytesDropped }) => logBytesDropped),
    ...(linesDropped > 0 && { logLinesDropped: linesDropped }),
    ...(pidsRefused > 0 && { pidsRefused }),
    ...(denied.length > 0 && { denied: denied.slice(0, MAX_LISTED) }),
    ...(refusedCalls.length > 0 && { refusedCalls: refusedCalls.slice(0, MAX_LISTED) }),
    ...(spans.length > 0 && { spans }),
    ...(dropped > 0 && { spansDropped: dropped }),
  };
}

function errorOf({ error, exitCause }: RunReport): FunctionError | undefined {
  return error ?? (exitCause === undefined ? undefined : { name: 'Error', message: exitCause });
}
