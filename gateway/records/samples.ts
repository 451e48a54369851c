/**
 * Holds the newest invocations of each function in a short form, from which lists, rates and percentiles are made. Redis has
 * the records; this keeps the samples that will not change any more. So a page that is open for an hour, and a filter over ten
 * thousand samples, read only new records and not all again.
 */
import type { Sample } from '#contract/api/dashboard.ts';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { RECENT_LENGTH } from '#contract/platform/keys.ts';
import type { InvocationStore } from './invocations.ts';

/** Upper bound on the samples of all functions, about 400 bytes each; with many functions, each function has fewer. */
const MAX_HELD = 100_000;
const LEAST_DEPTH = 500;
/** Time without a read after which the samples of a function are dropped. */
const FORGOTTEN_MS = 300_000;
/** Age up to which samples are returned without another read, because many pages may ask at once. */
const FRESH_MS = 500;
/** Upper bound on the delay with which an invocation enters the index behind one that began later. */
const OVERLAP_MS = 60_000;
const MESSAGE_LENGTH = 160;

interface Held {
  /** Newest first. */
  samples: readonly Sample[];
  readAt: number;
  lookedAt: number;
  reading: Promise<readonly Sample[]> | undefined;
  /** The function had older invocations than these samples. */
  cut: boolean;
}

export class Samples {
  readonly #store: Pick<InvocationStore, 'recentIds' | 'findAll'>;
  readonly #held = new Map<string, Held>();

  constructor(store: Pick<InvocationStore, 'recentIds' | 'findAll'>) {
    this.#store = store;
  }

  /**
   * Samples of one function, newest first: RECENT_LENGTH at most, fewer where there are many functions. `fresh`: as they are
   * now, and not as they were a moment ago.
   */
  async of(namespace: string, name: string, fresh = false): Promise<readonly Sample[]> {
    const key = `${namespace}/${name}`;
    const now = performance.now();
    const held = this.#held.get(key) ?? {
      samples: [],
      readAt: -Infinity,
      lookedAt: now,
      reading: undefined,
      cut: false,
    };
    held.lookedAt = now;
    this.#held.set(key, held);
    if (fresh) {
      // A read under way may have begun before an end that the caller has already seen.
      await held.reading?.catch(() => undefined);
    } else if (now - held.readAt < FRESH_MS) return held.samples;
    held.reading ??= this.#read(namespace, name, held).finally(() => (held.reading = undefined));
    return await held.reading;
  }

  /** Start of the oldest sample that `of` has just returned, if there were older ones; undefined when they are complete. */
  knownFrom(namespace: string, name: string): number | undefined {
    const held = this.#held.get(`${namespace}/${name}`);
    return held?.cut === true ? held.samples.at(-1)?.startedAt : undefined;
  }

  async #read(namespace: string, name: string, held: Held): Promise<readonly Sample[]> {
    this.#forget();
    const fair = Math.floor(MAX_HELD / this.#held.size);
    const depth = Math.min(RECENT_LENGTH, Math.max(LEAST_DEPTH, fair));
    const newest = held.samples[0];
    const since = newest === undefined ? 0 : newest.startedAt - OVERLAP_MS;
    const known = new Map(held.samples.map((sample) => [sample.id, sample]));
    const listed = await this.#store.recentIds(namespace, name, since, depth);
    const open = held.samples.filter((sample) => !isFinal(sample)).map(({ id }) => id);
    const wanted = new Set(open);
    for (const id of listed) if (!known.has(id)) wanted.add(id);
    const ids = [...wanted];
    const records = await this.#store.findAll(ids);
    for (const [at, id] of ids.entries()) {
      const record = records[at];
      if (record) known.set(id, sampleOf(record));
      else known.delete(id);
    }
    held.samples = [...known.values()].toSorted((a, b) => b.startedAt - a.startedAt).slice(0, depth);
    // The index keeps a limited number, and records may be removed earlier; then the oldest ids in the index have no record.
    held.cut ||= held.samples.length >= depth || (listed.length > 0 && !known.has(listed.at(-1) ?? ''));
    held.readAt = performance.now();
    return held.samples;
  }

  #forget(): void {
    const before = performance.now() - FORGOTTEN_MS;
    for (const [key, { lookedAt }] of this.#held) if (lookedAt < before) this.#held.delete(key);
  }
}

/** Whether a sample can change no more. A queued invocation that failed may be redriven from the dead letters. */
function isFinal(sample: Sample): boolean {
  return sample.state === 'done' && (sample.lane === 'sync' || sample.outcome === 'ok');
}

export function sampleOf(record: AnyInvocation): Sample {
  const { id, namespace, name, version, lane, state, startedAt, traceId } = record;
  const common = { id, namespace, name, version, lane, startedAt, traceId };
  const tries = record.attempts?.length ?? (state === 'queued' ? 0 : 1);
  if (record.state !== 'done') return { ...common, state: record.state, tries };
  const { outcome, status, duration, report } = record;
  const message = report?.error?.message ?? record.message;
  const cold = report?.acquired === 'idle' ? undefined : (report?.coldReason ?? report?.acquired);
  return {
    ...common,
    state: 'done',
    outcome,
    status,
    duration,
    tries,
    ...(cold !== undefined && { cold }),
    ...(message !== undefined && { message: message.slice(0, MESSAGE_LENGTH) }),
  };
}
