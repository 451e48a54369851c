/** @jsxImportSource preact */
import type { JSX } from 'preact';
import { ago, count, ms, rate, share } from '../parts/format.ts';
import { Spark } from '../parts/charts.tsx';
import { useLive } from '../client/live.ts';
import { Empty, FunctionLink, Page, Table, useNow } from '../parts/parts.tsx';

export function Functions(): JSX.Element {
  const live = useLive('functions', {});
  const now = useNow();
  const { functions = [], minutes = 15 } = live.data ?? {};
  return (
    <Page title="Functions" live={live}>
      {functions.length === 0 ? (
        <Empty
          title="No function is deployed yet."
          command={'offshoot init hello\ncd hello\noffshoot deploy'}
        >
          Create one and deploy it; it then appears here without a reload.
        </Empty>
      ) : (
        <>
          <p class="muted">Figures for the last {minutes} minutes.</p>
          <Table
            label="Functions"
            head={[
              'Function',
              'Version',
              'Calls',
              { text: 'Per minute', number: true },
              { text: 'Failed', number: true },
              { text: 'p50', number: true, title: 'Half of the calls took no longer' },
              { text: 'p99', number: true, title: '99 of 100 calls took no longer' },
              { text: 'Cold', number: true, title: 'Share of calls that found no idle sandbox' },
              { text: 'Running', number: true },
              'Deployed',
            ]}
          >
            {functions.map((row) => (
              <tr key={`${row.namespace}/${row.name}`}>
                <td>
                  <FunctionLink {...row} />
                  {row.access === 'public' && <span class="tag">public</span>}
                </td>
                <td>
                  v{row.version} <span class="muted">{row.runtime}</span>
                </td>
                <td class="spark-cell">
                  <Spark parts={row.spark} />
                </td>
                <td class="number">{rate(row.traffic.perMinute)}</td>
                <td class={row.traffic.failed > 0 ? 'number bad-text' : 'number muted'}>
                  {row.traffic.count === 0 ? '–' : count(row.traffic.failed)}
                </td>
                <td class="number">{ms(row.traffic.p50)}</td>
                <td class="number">{ms(row.traffic.p99)}</td>
                <td class="number">{share(row.traffic.cold)}</td>
                <td class={row.running > 0 ? 'number busy-text' : 'number muted'}>{row.running}</td>
                <td class="muted">{ago(row.updatedAt, now)}</td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </Page>
  );
}
