/** @jsxImportSource preact */
import type { JSX } from 'preact';
import { ahead, moment } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import { Empty, FunctionLink, InvocationLink, Outcome, Page, Table, useNow } from '../parts/parts.tsx';

export function Schedules(): JSX.Element {
  const live = useLive('schedules', {});
  const now = useNow();
  const schedules = live.data?.schedules ?? [];
  return (
    <Page title="Schedules" live={live}>
      {schedules.length === 0 ? (
        <Empty
          title="No function has a schedule."
          command={'"schedule": { "cron": "0 3 * * *", "timezone": "Europe/Berlin" }'}
        >
          Add this to the offshoot.json of a function, then deploy the function.
        </Empty>
      ) : (
        <Table
          label="Schedules"
          head={[
            'Function',
            'Cron',
            'Time zone',
            'Next, in your time',
            '',
            'Overlap',
            'Missed times',
            'Last run',
          ]}
        >
          {schedules.map((one) => {
            const next = one.next.find((time) => time > now) ?? one.next[0];
            return (
              <tr key={`${one.namespace}/${one.name}`}>
                <td>
                  <FunctionLink {...one} />
                </td>
                <td class="mono">{one.cron}</td>
                <td>{one.timezone}</td>
                <td class="number left">{next === undefined ? '–' : moment(next)}</td>
                <td class="muted number left">{next === undefined ? '' : ahead(next, now)}</td>
                <td>{one.overlap ? 'allowed' : 'skipped'}</td>
                <td>{one.missed === 'run' ? 'run late' : 'skipped'}</td>
                <td>
                  {one.last ? (
                    <>
                      <Outcome of={one.last} /> <InvocationLink id={one.last.id} />
                    </>
                  ) : (
                    <span class="muted">not yet</span>
                  )}
                </td>
              </tr>
            );
          })}
        </Table>
      )}
    </Page>
  );
}
