/** Reads the items of a batch's group from the artifact store, and writes the result of each item there. */
import { randomBytes } from 'node:crypto';
import type { ItemResult } from '#contract/invocations/batch.ts';
import type { Canceller, GroupOfBatch } from '#contract/invocations/invocation.ts';
import { MAX_GROUP_RESULT_BYTES } from '#contract/functions/limits.ts';
import { membersOf } from '#contract/api/json-scanner.ts';
import { isFailure, OUTCOMES, type Outcome } from '#contract/invocations/outcome.ts';
import { isRefused } from '#contract/invocations/retry.ts';
import { inSlices, nextSlice } from '#contract/platform/slices.ts';
import type { BatchStore } from './batches.ts';
import type { BlobStore } from '../artifacts/blobs.ts';

/** An item to run, with the bytes that the client sent. */
export interface Item {
  readonly index: number;
  /** JSON. */
  readonly body: Buffer;
  /** Number of earlier attempts. */
  readonly tries: number;
}

const NEWLINE = 0x0a;
const LINE_END = Buffer.from([NEWLINE]);

export interface GroupsDeps {
  readonly batches: BatchStore;
  readonly blobs: BlobStore;
}

/**
 * The kept result of an item: its line, and the facts that the platform needs. Only the line holds the function's return value:
 * parsed, it may take thirty times its bytes, and a group may have a thousand items.
 */
export interface KeptResult extends Pick<ItemResult, 'index' | 'ok' | 'outcome' | 'tries'> {
  /** JSON, with its line break. */
  readonly line: Buffer;
}

/** Upper bound on the bytes of a line beside the function's return value or error. */
const PLAIN_LINE_BYTES = 256;

/** Results of one group, which together have at most MAX_GROUP_RESULT_BYTES. */
export class GroupResults {
  readonly #kept: KeptResult[] = [];
  #bytes = 0;

  /** `others`: results of items of the group that do not run now. */
  constructor(others: Iterable<KeptResult> = []) {
    for (const { line } of others) this.#bytes += weightOf(line);
  }

  get kept(): readonly KeptResult[] {
    return this.#kept;
  }

  /**
   * Keeps a result. Where the group has no room, it keeps only that the result was too large, or that the item failed.
   * `returned`: the function's return value as JSON in one line.
   */
  add(result: Omit<ItemResult, 'result'>, returned?: Buffer): void {
    const { index, ok, outcome, tries } = result;
    const line = lineOf(result, returned);
    if (this.#bytes + weightOf(line) <= MAX_GROUP_RESULT_BYTES) {
      this.#bytes += weightOf(line);
      this.#kept.push({ index, ok, outcome, tries, line });
      return;
    }
    const left: ItemResult = { index, ok: false, outcome: ok ? 'response_too_large' : outcome, tries };
    this.#kept.push({ ...left, line: lineOf(left) });
  }
}

function weightOf(line: Buffer): number {
  return Math.max(0, line.length - PLAIN_LINE_BYTES);
}

/** The state of a group before an attempt. */
export interface Group {
  /** Results that are known already, by index. */
  readonly known: ReadonlyMap<number, KeptResult>;
  /** All items. */
  readonly items: readonly Item[];
  /** Set if the batch was cancelled. */
  readonly cancelledBy: Canceller | undefined;
}

export class Groups {
  readonly #deps: GroupsDeps;

  constructor(deps: GroupsDeps) {
    this.#deps = deps;
  }

  /** The state of a group. Undefined when its items no longer exist. */
  async open(of: GroupOfBatch): Promise<Group | undefined> {
    const { batches, blobs } = this.#deps;
    const [entry, cancelledBy] = await Promise.all([
      batches.group(of.id, of.group),
      batches.cancelledBy(of.id),
    ]);
    if (!entry) return undefined;
    const [input, results] = await Promise.all([
      blobs.read(entry.input),
      entry.results === undefined ? undefined : blobs.read(entry.results),
    ]);
    if (!input) return undefined;
    await nextSlice();
    const known = new Map<number, KeptResult>();
    await inSlices(linesOf(results ?? Buffer.alloc(0)), (text) => {
      // conclude() has written these lines.
      const facts = withoutResult(text);
      if (!facts) return;
      const { index, ok, outcome, tries } = facts;
      known.set(index, { index, ok, outcome, tries, line: Buffer.concat([text, LINE_END]) });
    });
    const items = linesOf(input).map((body, at): Item => {
      const index = entry.first + at;
      return { index, body, tries: known.get(index)?.tries ?? 0 };
    });
    return { known, items, cancelledBy };
  }

  /**
   * Writes the results of an attempt. `final`: there is no further attempt, so each item without a result has failed, with
   * `outcome`. To be called before the record says so: when the worker dies in between, the next one finds these results and
   * runs only the missing items.
   */
  async conclude(
    of: GroupOfBatch,
    known: ReadonlyMap<number, KeptResult>,
    end: { attempt: number; final: boolean; outcome: Outcome; message?: string | undefined },
  ): Promise<void> {
    const { batches, blobs } = this.#deps;
    const { attempt, final, outcome, message } = end;
    await nextSlice();
    const results = Array.from({ length: of.items }, (_, at): KeptResult | undefined => {
      const index = of.first + at;
      const result = known.get(index);
      if (result || !final) return result;
      const error = { name: 'Error', message: message ?? OUTCOMES[outcome].meaning };
      const missing: ItemResult = { index, ok: false, outcome, error, tries: attempt };
      return { index, ok: false, outcome, tries: attempt, line: lineOf(missing) };
    }).filter((result) => result !== undefined);
    const lines = Buffer.concat(results.map(({ line }) => line));
    const key = `batches/${of.id}/out/${of.group}-${attempt}-${randomBytes(4).toString('hex')}`;
    if (lines.length > 0) await blobs.put(key, lines, { durable: final });
    const ok = results.filter((result) => result.ok).length;
    const failed = results.filter((result) => !result.ok && (final || !isRetried(result))).length;
    await batches.report(of.id, {
      group: of.group,
      attempt,
      ok,
      failed,
      final,
      ...(lines.length > 0 && { results: key }),
    });
  }
}

/** Whether a failed item is tried again while its group has attempts left. */
export function isRetried({ ok, outcome, status }: Pick<ItemResult, 'ok' | 'outcome' | 'status'>): boolean {
  if (!isFailure(outcome)) return !ok && !isRefused({ outcome, status });
  return !ok && OUTCOMES[outcome].queued === 'retry';
}

/** Writes a line without parsing the function's return value, whose bytes go from its answer into the line. */
function lineOf(result: Omit<ItemResult, 'result'>, returned?: Buffer): Buffer {
  const text = JSON.stringify(result);
  if (!returned) return Buffer.from(`${text}\n`);
  return Buffer.concat([Buffer.from(`${text.slice(0, -1)},"result":`), returned, RESULT_END]);
}
const RESULT_END = Buffer.from('}\n');

/** The facts in a line of results, without the function's return value. */
function withoutResult(line: Buffer): Omit<ItemResult, 'result'> | undefined {
  const members = membersOf(line);
  members?.delete('result');
  const facts = [...(members ?? [])].map(
    ([name, json]) => [name, JSON.parse(json.toString('utf8'))] as const,
  );
  return members && (Object.fromEntries(facts) as Omit<ItemResult, 'result'>);
}

/** The lines of a blob or body, without their ends; empty ones are skipped. */
export function linesOf(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const found = bytes.indexOf(NEWLINE, at);
    const end = found === -1 ? bytes.length : found;
    if (end > at) lines.push(bytes.subarray(at, end));
    at = end + 1;
  }
  return lines;
}
