/** @jsxImportSource preact */
import type { JSX } from 'preact';
import { cancelledText } from '#contract/invocations/canceller.ts';
import type { Batch } from '#contract/invocations/batch.ts';
import { api } from '../client/api.ts';
import { ago, count, ms } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import { Confirm, Empty, FunctionLink, Page, Table, useDoing, useNow } from '../parts/parts.tsx';
import { may } from '../client/session.ts';

export function Batches(): JSX.Element {
  const live = useLive('batches', {});
  const now = useNow();
  const { doing, said, run } = useDoing();
  const batches = live.data?.batches ?? [];
  const cancel = (id: string): void =>
    run(async () => {
      await api('POST', `/batches/${id}/cancel`);
      return 'The batch is being cancelled.';
    });
  return (
    <Page title="Batches" live={live}>
      {said}
      {batches.length === 0 ? (
        <Empty title="No batch has run yet." command="offshoot batch run items.ndjson --function NAME">
          A batch runs one function for many items, as lines of JSON.
        </Empty>
      ) : (
        <Table
          label="Batches"
          head={[
            'Batch',
            'Function',
            'State',
            'Progress',
            { text: 'Items', number: true },
            { text: 'Succeeded', number: true },
            { text: 'Failed', number: true },
            { text: 'Took', number: true },
            'Begun',
            '',
          ]}
        >
          {batches.map((batch) => (
            <tr key={batch.id}>
              <td class="mono" title={batch.id}>
                {batch.id.slice(-8)}
              </td>
              <td>
                <FunctionLink {...batch} />
              </td>
              <td>
                <span
                  class={`chip ${KIND[batch.state]}`}
                  title={batch.cancelledBy && cancelledText(batch.cancelledBy)}
                >
                  {batch.state}
                </span>
              </td>
              <td>
                <Progress of={batch} />
              </td>
              <td class="number">{count(batch.items)}</td>
              <td class="number">{count(batch.succeeded)}</td>
              <td class={batch.failed > 0 ? 'number bad-text' : 'number muted'}>{count(batch.failed)}</td>
              <td class="number">{ms(Math.max(0, (batch.endedAt ?? now) - batch.createdAt))}</td>
              <td class="muted">{ago(batch.createdAt, now)}</td>
              <td class="right">
                {batch.endedAt === undefined && (
                  <Confirm
                    label="Cancel"
                    question="End this batch? Waiting items are not run, running ones are killed."
                    yes="Cancel it"
                    disabled={doing || !may('invoke')}
                    act={() => cancel(batch.id)}
                  />
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </Page>
  );
}

const KIND = { open: 'queued', running: 'running', done: 'ok', cancelled: 'quiet' } as const;

function Progress({ of }: { of: Batch }): JSX.Element {
  const { items, succeeded, failed } = of;
  const good = items === 0 ? 0 : (succeeded / items) * 100;
  const bad = items === 0 ? 0 : (failed / items) * 100;
  return (
    <div
      class="progress"
      role="progressbar"
      aria-label={`Batch ${of.id}`}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(good + bad)}
    >
      <span class="ok" style={{ width: `${good}%` }} />
      <span class="bad" style={{ width: `${bad}%` }} />
    </div>
  );
}
