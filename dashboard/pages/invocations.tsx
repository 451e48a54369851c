/** @jsxImportSource preact */
import type { JSX } from 'preact';
import { OUTCOME_NAMES } from '#contract/invocations/outcome.ts';
import { count, inWords } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import { Empty, Page, useNow } from '../parts/parts.tsx';
import { go } from '../client/router.ts';
import { Runs } from '../parts/runs.tsx';

const FILTERS = [
  ['', 'any outcome'],
  ['open', 'not ended'],
  ['failed', 'failed'],
  ...OUTCOME_NAMES.map((outcome) => [outcome, inWords(outcome)] as const),
] as const;
const AGES = [
  ['', 'any time'],
  ['5', 'last 5 minutes'],
  ['60', 'last hour'],
  ['1440', 'last day'],
] as const;
const FIELDS = ['function', 'outcome', 'minutes', 'slower', 'trace'];

export function Invocations({ query }: { query: URLSearchParams }): JSX.Element {
  const params: Record<string, string> = {};
  for (const field of FIELDS) {
    const value = query.get(field);
    if (value) params[field] = value;
  }
  const live = useLive('invocations', params);
  const now = useNow();
  const { data } = live;
  const set = (field: string, value: string): void => {
    const next = new URLSearchParams(params);
    if (value) next.set(field, value);
    else next.delete(field);
    const text = next.toString();
    go(`/dashboard/invocations${text && `?${text}`}`, { replace: true });
  };
  return (
    <Page title="Invocations" live={live}>
      {data && (
        <>
          <form
            class="filters"
            onSubmit={(event) => event.preventDefault()}
            role="search"
            aria-label="Filter"
          >
            <label>
              Function
              <select
                value={params['function'] ?? ''}
                onChange={(event) => set('function', event.currentTarget.value)}
              >
                <option value="">all functions</option>
                {data.functions.map((name) => (
                  <option key={name} value={name}>
                    {name}
                  </option>
                ))}
              </select>
            </label>
            <Select name="Outcome" field="outcome" options={FILTERS} params={params} set={set} />
            <Select name="Began" field="minutes" options={AGES} params={params} set={set} />
            <label>
              Took at least, ms
              <input
                type="number"
                min="0"
                step="any"
                value={params['slower'] ?? ''}
                onInput={(event) => set('slower', event.currentTarget.value)}
              />
            </label>
            <label class="grow">
              Trace or invocation id
              <input
                type="search"
                class="mono"
                maxLength={64}
                spellcheck={false}
                value={params['trace'] ?? ''}
                onInput={(event) => set('trace', event.currentTarget.value.trim())}
              />
            </label>
          </form>
          <p class="muted" aria-live="polite">
            {count(data.matched)} of {count(data.looked)} kept
            {data.matched > data.invocations.length &&
              `, the newest ${count(data.invocations.length)} are shown`}
          </p>
          {data.invocations.length === 0 ? (
            data.looked === 0 ? (
              <Empty title="Nothing has run yet." command="offshoot invoke NAME" />
            ) : (
              <Empty title="No invocation fits this filter.">
                <a href="/dashboard/invocations">Show all</a>
              </Empty>
            )
          ) : (
            <Runs label="Invocations" runs={data.invocations} named now={now} />
          )}
        </>
      )}
    </Page>
  );
}

function Select({
  name,
  field,
  options,
  params,
  set,
}: {
  name: string;
  field: string;
  options: readonly (readonly [string, string])[];
  params: Readonly<Record<string, string>>;
  set: (field: string, value: string) => void;
}): JSX.Element {
  return (
    <label>
      {name}
      <select value={params[field] ?? ''} onChange={(event) => set(field, event.currentTarget.value)}>
        {options.map(([value, words]) => (
          <option key={value} value={value}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}
