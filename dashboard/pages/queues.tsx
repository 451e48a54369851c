/** @jsxImportSource preact */
import type { JSX } from 'preact';
import { DEAD } from '#contract/invocations/dead-letter.ts';
import type { QueueRow } from '#contract/api/dashboard.ts';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { api } from '../client/api.ts';
import { ago, atLeast, count, seen } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import {
  Card,
  Confirm,
  Empty,
  FunctionLink,
  InvocationLink,
  Outcome,
  Page,
  Table,
  useDoing,
  useNow,
} from '../parts/parts.tsx';
import { may } from '../client/session.ts';

export function Queues(): JSX.Element {
  const live = useLive('queues', {});
  const { data } = live;
  return (
    <Page title="Queues" live={live}>
      {data && (
        <>
          <Card title="By namespace">
            {data.queues.length === 0 ? (
              <Empty title="There is no namespace yet." command="offshoot deploy" />
            ) : (
              <Table
                label="Queues"
                head={[
                  'Namespace',
                  { text: 'Waiting', number: true },
                  { text: 'Running', number: true },
                  { text: 'Delayed', number: true, title: 'By a delay, or by the wait before the next try' },
                  {
                    text: 'Callers in line',
                    number: true,
                    title: 'Synchronous calls that no worker has taken yet',
                  },
                  { text: 'Dead letters', number: true },
                ]}
              >
                {data.queues.map((row) => (
                  <tr key={row.namespace}>
                    <td>{row.namespace}</td>
                    <td class="number">{count(row.waiting)}</td>
                    <td class={row.active > 0 ? 'number busy-text' : 'number'}>{count(row.active)}</td>
                    <td class="number">{count(row.delayed)}</td>
                    <td class="number">{count(row.lane)}</td>
                    <td class={row.dead > 0 ? 'number bad-text' : 'number'}>
                      {atLeast(row.dead, row.deadMore)}
                    </td>
                  </tr>
                ))}
              </Table>
            )}
          </Card>
          <Dead
            letters={data.dead}
            more={data.queues.some(({ deadMore }) => deadMore) || totalOf(data.queues) > data.dead.length}
          />
        </>
      )}
    </Page>
  );
}

function totalOf(queues: readonly QueueRow[]): number {
  return queues.reduce((total, { dead }) => total + dead, 0);
}

function Dead({
  letters,
  more,
}: {
  letters: readonly InvocationRecord[];
  /** True if there may be older ones. */
  more: boolean;
}): JSX.Element {
  const now = useNow();
  const { doing, said, run } = useDoing();
  const byNamespace = Map.groupBy(letters, ({ namespace }) => namespace);
  const move = (verb: 'redrive' | 'purge', chosen: readonly InvocationRecord[]): void =>
    run(async () => {
      let moved = 0;
      for (const [namespace, some] of Map.groupBy(chosen, (one) => one.namespace)) {
        const { ids } = await api<{ ids: string[] }>('POST', `/dead-letters/${namespace}/${verb}`, {
          ids: some.map(({ id }) => id),
        });
        moved += ids.length;
      }
      const what = moved === 1 ? '1 dead letter is' : `${count(moved)} dead letters are`;
      return verb === 'redrive' ? `${what} queued again.` : `${what} off the list.`;
    });
  const mayNot = doing || !may('invoke');
  return (
    <Card
      title="Dead letters"
      note={letters.length > 0 && (more ? `the newest ${count(letters.length)}` : count(letters.length))}
    >
      {said}
      {letters.length === 0 ? (
        <Empty title="There are none.">
          A queued invocation becomes a dead letter when it has failed and is not retried.
        </Empty>
      ) : (
        <>
          <div class="row">
            <button type="button" disabled={mayNot} onClick={() => move('redrive', letters)}>
              Redrive all shown
            </button>
            <Confirm
              label="Purge all shown"
              question={`Take ${count(letters.length)} dead letters of ${byNamespace.size === 1 ? 'one namespace' : `${byNamespace.size} namespaces`} off the list? Their records are kept until they expire.`}
              yes="Purge"
              disabled={mayNot}
              act={() => move('purge', letters)}
            />
          </div>
          <Table
            label="Dead letters"
            head={['Invocation', 'Function', 'Outcome', 'Reason', 'Error', 'Ended', '']}
          >
            {letters.map((letter) => (
              <tr key={letter.id}>
                <td>
                  <InvocationLink id={letter.id} />
                </td>
                <td>
                  <FunctionLink {...letter} />
                </td>
                <td>
                  <Outcome of={letter} />
                </td>
                <td class="wrap">
                  {letter.dead && DEAD[letter.dead].because}
                  <span class="muted"> ({letter.attempts?.length ?? 0} tries)</span>
                </td>
                <td class="notes muted">{seen(letter.report?.error?.message ?? letter.message ?? '')}</td>
                <td class="muted">{ago(letter.startedAt + letter.duration, now)}</td>
                <td class="right nowrap">
                  <button
                    type="button"
                    disabled={mayNot}
                    aria-label={`Redrive ${letter.id}`}
                    onClick={() => move('redrive', [letter])}
                  >
                    Redrive
                  </button>
                </td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </Card>
  );
}
