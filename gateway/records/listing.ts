/** Lists the newest invocations of some functions, all of them or those that match a filter. */
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import type { Outcome } from '#contract/invocations/outcome.ts';
import type { Sample } from '#contract/api/dashboard.ts';
import type { Samples } from './samples.ts';
import type { InvocationStore } from './invocations.ts';

export interface InvocationFilter {
  readonly state?: AnyInvocation['state'] | undefined;
  readonly outcome?: Outcome | undefined;
  readonly trace?: string | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
}

interface FunctionName {
  readonly namespace: string;
  readonly name: string;
}

export class Listing {
  readonly #store: Pick<InvocationStore, 'newest' | 'findAll'>;
  readonly #samples: Pick<Samples, 'of'>;

  constructor(store: Pick<InvocationStore, 'newest' | 'findAll'>, samples: Pick<Samples, 'of'>) {
    this.#store = store;
    this.#samples = samples;
  }

  /** Newest first, `limit` at most. A filter searches the samples that are held of each function, and no further. */
  async list(
    functions: readonly FunctionName[],
    filter: InvocationFilter,
    limit: number,
  ): Promise<AnyInvocation[]> {
    const isFiltered = Object.values(filter).some((value) => value !== undefined);
    const candidates = isFiltered
      ? await this.#matching(functions, filter)
      : (
          await Promise.all(
            functions.map(({ namespace, name }) => this.#store.newest(namespace, name, limit)),
          )
        ).flat();
    const ids = candidates.toSorted((a, b) => b.startedAt - a.startedAt).map(({ id }) => id);
    const found: AnyInvocation[] = [];
    // Some may have expired or changed since their samples were read.
    for (let from = 0; from < ids.length && found.length < limit; from += limit) {
      const records = await this.#store.findAll(ids.slice(from, from + limit));
      for (const record of records) if (record && matches(record, filter)) found.push(record);
    }
    return found.slice(0, limit);
  }

  async #matching(functions: readonly FunctionName[], filter: InvocationFilter): Promise<Sample[]> {
    const all = await Promise.all(
      functions.map(({ namespace, name }) => this.#samples.of(namespace, name, true)),
    );
    return all.flatMap((samples) => samples.filter((sample) => matches(sample, filter)));
  }
}

function matches(
  one: Pick<AnyInvocation, 'state' | 'traceId' | 'startedAt'> & { readonly outcome?: Outcome },
  { state, outcome, trace, since, until }: InvocationFilter,
): boolean {
  return (
    (state === undefined || one.state === state) &&
    (outcome === undefined || (one.state === 'done' && one.outcome === outcome)) &&
    (trace === undefined || one.traceId === trace) &&
    (since === undefined || one.startedAt >= since) &&
    (until === undefined || one.startedAt <= until)
  );
}
