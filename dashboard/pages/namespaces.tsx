/** @jsxImportSource preact */
import type { JSX } from 'preact';
import { atLeast, count, ms, rate, share } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import { Empty, Page, Table } from '../parts/parts.tsx';

export function Namespaces(): JSX.Element {
  const live = useLive('namespaces', {});
  const { namespaces = [], minutes = 15 } = live.data ?? {};
  return (
    <Page title="Namespaces" live={live}>
      {namespaces.length === 0 ? (
        <Empty title="There is no namespace yet." command="offshoot deploy --namespace shop">
          The first deploy into a namespace creates it.
        </Empty>
      ) : (
        <>
          <p class="muted">Calls in the last {minutes} minutes.</p>
          <Table
            label="Namespaces"
            head={[
              'Namespace',
              { text: 'Functions', number: true },
              { text: 'Calls', number: true },
              { text: 'Per minute', number: true },
              { text: 'Failed', number: true },
              { text: 'p50', number: true },
              { text: 'p99', number: true },
              { text: 'Cold', number: true },
              { text: 'In the queue', number: true },
              { text: 'Dead letters', number: true },
            ]}
          >
            {namespaces.map(({ namespace, functions, queued, dead, deadMore, traffic }) => (
              <tr key={namespace}>
                <td>{namespace}</td>
                <td class="number">{count(functions)}</td>
                <td class="number">{count(traffic.count)}</td>
                <td class="number">{rate(traffic.perMinute)}</td>
                <td class={traffic.failed > 0 ? 'number bad-text' : 'number muted'}>
                  {count(traffic.failed)}
                </td>
                <td class="number">{ms(traffic.p50)}</td>
                <td class="number">{ms(traffic.p99)}</td>
                <td class="number">{share(traffic.cold)}</td>
                <td class="number">{count(queued)}</td>
                <td class={dead > 0 ? 'number bad-text' : 'number muted'}>{atLeast(dead, deadMore)}</td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </Page>
  );
}
