/** What is kept of the groups of batches: reads their items, and writes down what came of each. */
import { randomBytes } from 'node:crypto';
import type { ItemResult } from '#contract/batch.ts';
import type { GroupOfBatch } from '#contract/invocation.ts';
import { MAX_GROUP_RESULT_BYTES } from '#contract/limits.ts';
import { membersOf } from '#contract/json-scanner.ts';
import { OUTCOMES, type Outcome } from '#contract/outcome.ts';
import { inSlices, nextTurn } from '#contract/turns.ts';
import type { BatchStore } from './batches.ts';
import type { BlobStore } from './blobs.ts';

/** An item that is to run, as the batch was given it. */
export interface Item {
  readonly index: number;
  /** JSON. */
  readonly body: Buffer;
  /** How often it was tried before. */
  readonly tries: number;
}

const NEWLINE = 0x0a;
const LINE_END = Buffer.from([NEWLINE]);

export interface GroupsDeps {
  readonly batches: BatchStore;
  readonly blobs: BlobStore;
}

/**
 * What came of an item, as it is kept: its line, and what is asked of it. What the function returned is in the line only: as
 * values it may take thirty times its bytes, and a group may have a thousand items.
 */
export interface KeptResult extends Pick<ItemResult, 'index' | 'ok' | 'outcome' | 'tries'> {
  /** JSON, with its line break. */
  readonly line: Buffer;
}

/** A line has no more than this beside what the function returned or threw. */
const PLAIN_LINE_BYTES = 256;

/** Results of one group, which keep to MAX_GROUP_RESULT_BYTES together. */
export class GroupResults {
  readonly #kept: KeptResult[] = [];
  #bytes = 0;

  /** `others`: of items of the group that are not run now. */
  constructor(others: Iterable<KeptResult> = []) {
    for (const { line } of others) this.#bytes += weightOf(line);
  }

  get kept(): readonly KeptResult[] {
    return this.#kept;
  }

  /**
   * Keeps it, or what is left of it where the group has no room: that its result was too large, or only that it failed. `returned`:
   * JSON, in one line, of what the function returned.
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

/** A group as it stands before a try. */
export interface Group {
  /** What is known of items already, by index. */
  readonly known: ReadonlyMap<number, KeptResult>;
  /** All items. */
  readonly items: readonly Item[];
  readonly cancelled: boolean;
}

export class Groups {
  readonly #deps: GroupsDeps;

  constructor(deps: GroupsDeps) {
    this.#deps = deps;
  }

  /** Undefined when its items are not there any more. */
  async open(of: GroupOfBatch): Promise<Group | undefined> {
    const { batches, blobs } = this.#deps;
    const [entry, cancelled] = await Promise.all([
      batches.group(of.id, of.group),
      batches.isCancelled(of.id),
    ]);
    if (!entry) return undefined;
    const [input, results] = await Promise.all([
      blobs.read(entry.input),
      entry.results === undefined ? undefined : blobs.read(entry.results),
    ]);
    if (!input) return undefined;
    await nextTurn();
    const known = new Map<number, KeptResult>();
    await inSlices(linesOf(results ?? Buffer.alloc(0)), (text) => {
      // Written below.
      const facts = withoutResult(text);
      if (!facts) return;
      const { index, ok, outcome, tries } = facts;
      known.set(index, { index, ok, outcome, tries, line: Buffer.concat([text, LINE_END]) });
    });
    const items = linesOf(input).map((body, at): Item => {
      const index = entry.first + at;
      return { index, body, tries: known.get(index)?.tries ?? 0 };
    });
    return { known, items, cancelled };
  }

  /**
   * Writes down what a try has come to. `final`: there is no other, so that each item that is not done has failed, with
   * `outcome` where nothing else is known of it. To be called before the record says so: a worker that dies in between is
   * followed by one that finds these results and runs only what they lack.
   */
  async conclude(
    of: GroupOfBatch,
    known: ReadonlyMap<number, KeptResult>,
    end: { attempt: number; final: boolean; outcome: Outcome; message?: string | undefined },
  ): Promise<void> {
    const { batches, blobs } = this.#deps;
    const { attempt, final, outcome, message } = end;
    await nextTurn();
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

/** Is an item that has failed tried again, while its group has tries left? */
export function isRetried({ ok, outcome }: Pick<ItemResult, 'ok' | 'outcome'>): boolean {
  return !ok && (outcome === 'ok' || OUTCOMES[outcome].retried);
}

/** No value is made of what a function returned: its bytes go from its answer into the line. */
function lineOf(result: Omit<ItemResult, 'result'>, returned?: Buffer): Buffer {
  const text = JSON.stringify(result);
  if (!returned) return Buffer.from(`${text}\n`);
  return Buffer.concat([Buffer.from(`${text.slice(0, -1)},"result":`), returned, RESULT_END]);
}
const RESULT_END = Buffer.from('}\n');

/** A line of results, as values but for what the function returned. */
function withoutResult(line: Buffer): Omit<ItemResult, 'result'> | undefined {
  const members = membersOf(line);
  members?.delete('result');
  const facts = [...(members ?? [])].map(
    ([name, json]) => [name, JSON.parse(json.toString('utf8'))] as const,
  );
  return members && (Object.fromEntries(facts) as Omit<ItemResult, 'result'>);
}

/** The lines of a blob or body, without their ends; an empty last one is none. */
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
