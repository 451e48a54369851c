/**
 * What lists, rates and percentiles are made from: the newest invocations of each function, in short. Redis has them; this
 * keeps what it has read of those that will not change any more, so that a page that is looked at for an hour, and a filter over
 * ten thousand of them, read what is new and not everything again.
 */
import type { Sample } from '#contract/api/dashboard.ts';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { RECENT_LENGTH } from '#contract/platform/keys.ts';
import type { InvocationStore } from './invocations.ts';

/** Samples of all functions together, about 400 bytes each: where there are many functions, each has fewer. */
const MAX_HELD = 100_000;
const LEAST_DEPTH = 500;
/** What nobody looks at for so long is let go. */
const FORGOTTEN_MS = 300_000;
/** What was read less than this ago is shown again as it is: many pages may look at once. */
const FRESH_MS = 500;
/** An invocation may come into the index a little after one that began later. */
const OVERLAP_MS = 60_000;
const MESSAGE_LENGTH = 160;

interface Held {
  /** Newest first. */
  samples: readonly Sample[];
  readAt: number;
  lookedAt: number;
  reading: Promise<readonly Sample[]> | undefined;
  /** There have been older ones than these. */
  cut: boolean;
}

export class Samples {
  readonly #store: Pick<InvocationStore, 'recentIds' | 'findAll'>;
  readonly #held = new Map<string, Held>();

  constructor(store: Pick<InvocationStore, 'recentIds' | 'findAll'>) {
    this.#store = store;
  }

  /**
   * Of one function, newest first: RECENT_LENGTH at most, fewer where there are many functions. `fresh`: as they are now, and not as
   * they were a moment ago.
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
      // One that is under way may have begun before what the caller has seen end.
      await held.reading?.catch(() => undefined);
    } else if (now - held.readAt < FRESH_MS) return held.samples;
    held.reading ??= this.#read(namespace, name, held).finally(() => (held.reading = undefined));
    return await held.reading;
  }

  /** When the oldest began of what `of` has just given, where there have been older ones; undefined where that is all. */
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
    // The lists keep so many, and records may be removed before; then the oldest of a list have none.
    held.cut ||= held.samples.length >= depth || (listed.length > 0 && !known.has(listed.at(-1) ?? ''));
    held.readAt = performance.now();
    return held.samples;
  }

  #forget(): void {
    const before = performance.now() - FORGOTTEN_MS;
    for (const [key, { lookedAt }] of this.#held) if (lookedAt < before) this.#held.delete(key);
  }
}

/** A dead letter may be queued again; other ends are the end. */
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
