/** @jsxImportSource preact */
/** A table of invocations. */
import type { JSX } from 'preact';
import type { Sample } from '#contract/api/dashboard.ts';
import { clock, moment, ms, seen } from './format.ts';
import { FunctionLink, InvocationLink, Outcome, Table } from './parts.tsx';

const DAY_MS = 86_400_000;

export function Runs({
  label,
  runs,
  named,
  now,
}: {
  label: string;
  runs: readonly Sample[];
  /** True to show the name of the function, in a list of several functions. */
  named: boolean;
  now: number;
}): JSX.Element {
  return (
    <Table
      label={label}
      head={[
        'Invocation',
        ...(named ? ['Function'] : []),
        'Outcome',
        'Began',
        { text: 'Took', number: true },
        { text: 'Tries', number: true },
        'Notes',
      ]}
    >
      {runs.map((run) => (
        <tr key={run.id}>
          <td>
            <InvocationLink id={run.id} />
          </td>
          {named && (
            <td>
              <FunctionLink {...run} />
            </td>
          )}
          <td>
            <Outcome of={run} />
          </td>
          <td class="number left">
            {now - run.startedAt > DAY_MS ? moment(run.startedAt) : clock(run.startedAt)}
          </td>
          <td class="number">
            {run.state === 'done' ? ms(run.duration) : ms(Math.max(0, now - run.startedAt))}
          </td>
          <td class={run.tries > 1 ? 'number' : 'number muted'}>{run.tries}</td>
          <td class="notes">
            {run.cold && <span class="tag cold">{run.cold.replaceAll('_', ' ')}</span>}
            {run.lane === 'queued' && <span class="tag">queued lane</span>}
            <span class="muted">{run.message && seen(run.message)}</span>
          </td>
        </tr>
      ))}
    </Table>
  );
}
