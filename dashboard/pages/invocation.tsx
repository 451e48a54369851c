/** @jsxImportSource preact */
import type { JSX } from 'preact';
import { nextWith } from '#contract/invocations/next.ts';
import { cancelledText } from '#contract/invocations/canceller.ts';
import { isFailure } from '#contract/invocations/outcome.ts';
import type { InvocationPage, Preview } from '#contract/api/dashboard.ts';
import { api } from '../client/api.ts';
import { bytes, count, exact, lasting, moment, ms, seen } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import {
  Card,
  Confirm,
  Facts,
  FunctionLink,
  Outcome,
  Page,
  pretty,
  sentence,
  Table,
  useDoing,
  useNow,
} from '../parts/parts.tsx';
import { go } from '../client/router.ts';
import { may } from '../client/session.ts';
import { Receipt } from '../parts/receipt.tsx';
import { Waterfall } from '../parts/waterfall.tsx';

export function OneInvocation({ id }: { id: string }): JSX.Element {
  const live = useLive('invocation', { id });
  const now = useNow();
  const { data } = live;
  return (
    <Page
      title="Invocation"
      live={live}
      actions={data && <Actions data={data} />}
      above={
        <p class="crumbs">
          <a href="/dashboard/invocations">Invocations</a>
          <span class="mono">{id}</span>
        </p>
      }
    >
      {data && <Details data={data} now={now} />}
    </Page>
  );
}

function Actions({ data }: { data: InvocationPage }): JSX.Element {
  const { record } = data;
  const { doing, said, run } = useDoing();
  const cancel = (): void =>
    run(async () => {
      await api('POST', `/invocations/${record.id}/cancel`);
      return 'The invocation is being cancelled.';
    });
  const replay = (): void =>
    run(async () => {
      const { id } = await api<{ id: string }>('POST', `/invocations/${record.id}/replay`, {});
      go(`/dashboard/invocations/${id}`);
      return 'A replay is queued.';
    });
  return (
    <>
      {said}
      {record.state !== 'done' && (
        <Confirm
          label="Cancel"
          question={
            record.state === 'running'
              ? 'Kill this run? Its sandbox ends with it.'
              : 'Remove this invocation from the queue?'
          }
          yes="Cancel it"
          disabled={doing || !may('invoke')}
          act={cancel}
        />
      )}
      {record.lane === 'queued' && !record.batch && (
        <button type="button" disabled={doing || !may('invoke')} onClick={replay}>
          Replay
        </button>
      )}
    </>
  );
}

function Details({ data, now }: { data: InvocationPage; now: number }): JSX.Element {
  const { record } = data;
  const report = record.state === 'done' ? record.report : undefined;
  return (
    <>
      <div class="summary">
        <Outcome of={record} />
        <FunctionLink {...record} />
        <span class="muted">v{record.version}</span>
        <span class="mono muted">
          {record.method} {record.path}
        </span>
        <strong class="took">
          {record.state === 'done' ? ms(record.duration) : lasting(now - record.startedAt)}
        </strong>
      </div>
      {record.state === 'done' && isFailure(record.outcome) && <Failure data={data} />}
      {record.state !== 'done' && (
        <p class="muted">
          {record.state === 'running'
            ? `Running${record.worker ? ` on worker ${record.worker}` : ''}.`
            : record.dueAt !== undefined && record.dueAt > now
              ? `Waiting until ${exact(record.dueAt)}.`
              : 'Waiting for a worker.'}
        </p>
      )}
      <div class="columns even">
        <div class="stack">
          <Card title="Where the time went" note={<a href={tracePath(record)}>whole trace</a>}>
            {data.spans.length > 0 ? (
              <Waterfall spans={data.spans} />
            ) : (
              <p class="muted">The times are shown after the end of the invocation.</p>
            )}
          </Card>
          {record.attempts && record.attempts.length > 0 && <Tries data={data} />}
        </div>
        <Logs data={data} />
      </div>
      <div class="columns even">
        <Body title="Input" of={data.input} without={noInput(data)} />
        <Body
          title="Result"
          of={data.result}
          without={
            record.state !== 'done'
              ? 'There is no result yet.'
              : record.lane === 'sync'
                ? 'The result went to the waiting caller. Only results of the queued lane are kept.'
                : 'There is no result.'
          }
        />
      </div>
      <div class="columns even">
        <Card title="Facts">
          <Facts
            of={[
              ['Began', moment(record.startedAt)],
              ['Lane', record.lane === 'sync' ? 'sync: the caller waits' : 'queued'],
              ...(report?.usage
                ? ([
                    ['Processor time', ms(report.usage.cpu)],
                    [
                      'Peak memory',
                      `${bytes(report.usage.memoryPeak)}${data.memoryLimit ? ` of ${bytes(data.memoryLimit)}` : ''}`,
                    ],
                  ] as const)
                : []),
              ['Request', bytes(record.requestBytes)],
              ...(record.state === 'done' ? ([['Response', bytes(record.responseBytes)]] as const) : []),
              ...(report
                ? ([
                    [
                      'Worker',
                      <span class="mono" key="w">
                        {report.worker}
                      </span>,
                    ],
                  ] as const)
                : []),
              [
                'Trace',
                <a class="mono" key="trace" href={tracePath(record)}>
                  {record.traceId}
                </a>,
              ],
              ...(record.replayOf
                ? ([
                    [
                      'Replay of',
                      <a class="mono" key="replay" href={`/dashboard/invocations/${record.replayOf}`}>
                        {record.replayOf}
                      </a>,
                    ],
                  ] as const)
                : []),
              ...(record.batch
                ? ([
                    ['Batch', `${record.batch.id}, ${record.batch.items} items from ${record.batch.first}`],
                  ] as const)
                : []),
              ...(record.scheduledFor ? ([['Scheduled for', moment(record.scheduledFor)]] as const) : []),
              ...(record.callback
                ? ([
                    [
                      'Callback',
                      `${record.callback.state} after ${record.callback.attempts} tries${record.callback.lastError ? `: ${record.callback.lastError}` : ''} (${record.callback.url})`,
                    ],
                  ] as const)
                : []),
            ]}
          />
        </Card>
        <Receipt of={data.isolation} ended={record.state === 'done'} />
      </div>
    </>
  );
}

/** With the id of this invocation, which the lists may have dropped. */
function tracePath({ traceId, id }: InvocationPage['record']): string {
  return `/dashboard/traces/${traceId}?invocation=${encodeURIComponent(id)}`;
}

function noInput({ record }: InvocationPage): string {
  if (record.batch) return 'The input is a group of items of a batch.';
  return record.lane === 'sync'
    ? 'Inputs of synchronous calls are not kept. To keep the input, queue the call: offshoot invoke NAME --async'
    : 'The input is not kept any more.';
}

function Failure({ data }: { data: InvocationPage }): JSX.Element {
  const { record, outcome } = data;
  const next = outcome && nextWith(outcome.next, record.id);
  const error = record.state === 'done' ? record.report?.error : undefined;
  const said = record.state === 'done' ? record.message : undefined;
  const cancelledBy = record.state === 'done' ? record.cancelledBy : undefined;
  return (
    <div class="failure">
      <p>
        <strong>{outcome && sentence(outcome.meaning)}</strong> {next && sentence(next)}
      </p>
      {cancelledBy && <p>It was cancelled {cancelledText(cancelledBy)}.</p>}
      {said && !error && <p>{seen(said)}</p>}
      {error && (
        <pre class="body" tabIndex={0} aria-label="Error">
          {seen(error.stack ?? `${error.name}: ${error.message}`)}
        </pre>
      )}
    </div>
  );
}

function Tries({ data }: { data: InvocationPage }): JSX.Element {
  const { attempts = [], terms } = data.record;
  return (
    <Card
      title="Tries"
      note={terms && `${attempts.length} of ${(terms.triedBefore ?? 0) + terms.maxAttempts}`}
    >
      <Table
        label="Tries"
        head={[{ text: '#', number: true }, 'Outcome', 'Began', { text: 'Took', number: true }, 'Message']}
      >
        {attempts.map(({ startedAt, endedAt, outcome, message, status }, index) => (
          <tr key={startedAt}>
            <td class="number">{index + 1}</td>
            <td>
              <Outcome
                of={{
                  state: outcome ? 'done' : 'running',
                  ...(outcome && { outcome }),
                  ...(status !== undefined && { status }),
                }}
              />
            </td>
            <td>{exact(startedAt)}</td>
            <td class="number">{endedAt === undefined ? '–' : ms(endedAt - startedAt)}</td>
            <td class="notes muted">{message && seen(message)}</td>
          </tr>
        ))}
      </Table>
    </Card>
  );
}

function Logs({ data }: { data: InvocationPage }): JSX.Element {
  const { logs, logsCut, record } = data;
  const dropped = record.state === 'done' ? (record.report?.logBytesDropped ?? 0) : 0;
  return (
    <Card title="Logs" note={logs.length > 0 && count(logs.length + logsCut)}>
      {logs.length === 0 ? (
        <p class="muted">The invocation has printed nothing.</p>
      ) : (
        <ol class="logs" tabIndex={0} aria-label="Log lines">
          {logs.map((line, index) => (
            <li key={index} class={`level-${line.level}`}>
              <time>{exact(line.time)}</time>
              <span class="level">{line.level}</span>
              <span class="text">
                {line.origin !== undefined && <em class="origin">{line.origin}</em>}
                {seen(line.text)}
              </span>
            </li>
          ))}
        </ol>
      )}
      {logsCut > 0 && (
        <p class="muted small">
          {count(logsCut)} more lines: <code>offshoot trace {record.id}</code>
        </p>
      )}
      {dropped > 0 && <p class="muted small">{bytes(dropped)} over the limit were not kept.</p>}
    </Card>
  );
}

function Body({
  title,
  of,
  without,
}: {
  title: string;
  of: (Preview & { status?: number }) | undefined;
  without: string;
}): JSX.Element {
  if (!of) {
    return (
      <Card title={title}>
        <p class="muted">{without}</p>
      </Card>
    );
  }
  const note = [of.status, of.type, bytes(of.bytes)]
    .filter((part) => part !== undefined && part !== '')
    .join(' · ');
  return (
    <Card title={title} note={note}>
      {of.text === undefined ? (
        <p class="muted">Not shown, because it is not text or is too large.</p>
      ) : (
        <pre class="body" tabIndex={0} aria-label={title}>
          {seen(of.cut ? of.text : pretty(of.text))}
        </pre>
      )}
      {of.cut && of.text !== undefined && <p class="muted small">Only its beginning is shown.</p>}
    </Card>
  );
}
