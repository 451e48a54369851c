/** @jsxImportSource preact */
import type { JSX, TargetedEvent } from 'preact';
import { useState } from 'preact/hooks';
import { INVOCATION_HEADER } from '#contract/api/headers.ts';
import type { Bucket } from '#contract/api/dashboard.ts';
import { api, Refused, refusalOf, send } from '../client/api.ts';
import { Calls, Colds, Durations } from '../parts/charts.tsx';
import { ago, bytes, count, moment, ms, rate, seen, share } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import {
  Card,
  Empty,
  Facts,
  Figure,
  InvocationLink,
  Page,
  pretty,
  Table,
  useDoing,
  useNow,
} from '../parts/parts.tsx';
import { go } from '../client/router.ts';
import { may } from '../client/session.ts';
import { Runs } from '../parts/runs.tsx';

const WINDOWS = [
  ['15', '15 min'],
  ['60', '1 hour'],
  ['1440', '1 day'],
] as const;

export function OneFunction({
  namespace,
  name,
  query,
}: {
  namespace: string;
  name: string;
  query: URLSearchParams;
}): JSX.Element {
  const minutes = query.get('minutes') ?? '15';
  const live = useLive('function', { namespace, name, minutes });
  const now = useNow();
  const { data } = live;
  const path = `/dashboard/functions/${namespace}/${name}`;
  const windows = (
    <div class="segments" role="group" aria-label="Time shown">
      {WINDOWS.map(([value, words]) => (
        <button
          key={value}
          type="button"
          aria-pressed={minutes === value}
          onClick={() => go(`${path}?minutes=${value}`, { replace: true })}
        >
          {words}
        </button>
      ))}
    </div>
  );
  return (
    <Page
      title={`${namespace}/${name}`}
      live={live}
      actions={windows}
      above={
        <p class="crumbs">
          <a href="/dashboard">Functions</a>
        </p>
      }
    >
      {data && (
        <>
          {data.since !== undefined && (
            <p class="muted">
              Figures since {moment(data.since)}, of the newest {count(data.kept)} invocations. Older ones are
              not kept.
            </p>
          )}
          <div class="figures">
            <Figure name="Calls" value={count(data.traffic.count)} />
            <Figure name="Per minute" value={rate(data.traffic.perMinute)} />
            <Figure
              name="Failed"
              value={count(data.traffic.failed)}
              tone={data.traffic.failed > 0 ? 'bad-text' : ''}
            />
            <Figure name="p50" value={ms(data.traffic.p50)} />
            <Figure name="p99" value={ms(data.traffic.p99)} />
            <Figure name="Cold" value={share(data.traffic.cold)} />
            <Figure name="Running now" value={count(data.running)} />
          </div>
          <div class="charts">
            <Card
              title="Calls"
              note={
                <>
                  <i class="key ok" /> ok <i class="key bad" /> failed
                </>
              }
            >
              <Calls buckets={data.buckets} />
            </Card>
            <Card
              title="Duration"
              note={
                <>
                  <i class="key p50" /> p50 <i class="key p99" /> p99
                </>
              }
            >
              <Durations buckets={data.buckets} />
            </Card>
            <Card title="Cold starts">
              <Colds buckets={data.buckets} />
            </Card>
          </div>
          <Figures buckets={data.buckets} />
          <div class="columns">
            <Invoke namespace={namespace} name={name} />
            <Config data={data.function} />
          </div>
          <Card
            title="Recent runs"
            note={<a href={`/dashboard/invocations?function=${namespace}/${name}`}>all</a>}
          >
            {data.runs.length === 0 ? (
              <Empty
                title="The function has not run yet."
                command={`offshoot invoke ${name} --namespace ${namespace}`}
              />
            ) : (
              <Runs label="Recent runs" runs={data.runs} named={false} now={now} />
            )}
          </Card>
          <Versions namespace={namespace} name={name} data={data} now={now} />
        </>
      )}
    </Page>
  );
}

/** The figures of the charts as text, also for screen readers. */
function Figures({ buckets }: { buckets: readonly Bucket[] }): JSX.Element {
  const busy = buckets.filter(({ ok, failed }) => ok + failed > 0);
  return (
    <details class="figures-table">
      <summary>The charts as a table</summary>
      <Table
        label="Figures of the charts"
        head={[
          'From',
          { text: 'Ok', number: true },
          { text: 'Failed', number: true },
          { text: 'Cold', number: true },
          { text: 'p50', number: true },
          { text: 'p99', number: true },
        ]}
      >
        {busy.toReversed().map(({ at, ok, failed, cold, p50, p99 }) => (
          <tr key={at}>
            <td class="number left">{moment(at)}</td>
            <td class="number">{count(ok)}</td>
            <td class="number">{count(failed)}</td>
            <td class="number">{count(cold)}</td>
            <td class="number">{ms(p50)}</td>
            <td class="number">{ms(p99)}</td>
          </tr>
        ))}
      </Table>
    </details>
  );
}

interface Answer {
  readonly id: string;
  readonly status?: number;
  readonly text: string;
}

/** Upper bound on the characters of an answer that are shown: the whole of a large one would block the page. */
const SHOWN_CHARACTERS = 20_000;

function Invoke({ namespace, name }: { namespace: string; name: string }): JSX.Element {
  const [input, setInput] = useState('{}');
  const [queue, setQueue] = useState(false);
  const [answer, setAnswer] = useState<Answer>();
  const { doing, said, run } = useDoing();
  const submit = (event: TargetedEvent<HTMLFormElement>): void => {
    event.preventDefault();
    setAnswer(undefined);
    run(async () => {
      const parsed = parse(input);
      const path = `/functions/${namespace}/${name}`;
      if (queue) {
        const { id } = await api<{ id: string }>('POST', `${path}/invocations`, parsed);
        setAnswer({ id, text: '' });
        return 'The call is queued.';
      }
      const begun = performance.now();
      const response = await send('POST', `/dashboard/api/v1${path}/invoke`, parsed);
      // An answer with an invocation comes from the function, even if the function has failed.
      if (!response.headers.has(INVOCATION_HEADER)) throw new Refused(await refusalOf(response));
      const text = await response.text();
      const took = performance.now() - begun;
      setAnswer({
        id: response.headers.get(INVOCATION_HEADER) ?? '',
        status: response.status,
        text: text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : pretty(text),
      });
      return `It answered ${response.status} after ${ms(took)}.`;
    });
  };
  return (
    <Card title="Invoke">
      <form onSubmit={submit} class="invoke">
        <label for="event">Event, as JSON</label>
        <textarea
          id="event"
          rows={9}
          spellcheck={false}
          value={input}
          onInput={(event) => setInput(event.currentTarget.value)}
        />
        <div class="row">
          <button type="submit" class="primary" disabled={doing || !may('invoke')}>
            {doing ? 'Running…' : queue ? 'Queue' : 'Invoke'}
          </button>
          <label class="check">
            <input
              type="checkbox"
              checked={queue}
              onChange={(event) => setQueue(event.currentTarget.checked)}
            />
            do not wait: queue it
          </label>
        </div>
        {!may('invoke') && <p class="muted small">Your key lacks the scope “invoke”.</p>}
      </form>
      {said}
      {answer && (
        <>
          {answer.id && (
            <p>
              Invocation <InvocationLink id={answer.id} />
            </p>
          )}
          {answer.text && (
            <pre class="body" tabIndex={0} aria-label="Answer">
              {seen(answer.text)}
            </pre>
          )}
        </>
      )}
    </Card>
  );
}

function parse(input: string): unknown {
  try {
    return JSON.parse(input) as unknown;
  } catch (error) {
    throw new Error(`the event is not JSON: ${error instanceof Error ? error.message : ''}`, {
      cause: error,
    });
  }
}

function Config({
  data,
}: {
  data: NonNullable<ReturnType<typeof useLive<'function'>>['data']>['function'];
}): JSX.Element {
  const { schedule } = data.settings;
  const { settings } = data.active;
  return (
    <Card title="Configuration" note={`v${data.activeVersion}`}>
      <Facts
        of={[
          ['URL', <code key="url">{data.url}</code>],
          ['Access', data.settings.access],
          ['Runtime', settings.runtime],
          ['Memory', `${settings.memory} MB`],
          ['Processors', String(settings.cpu)],
          ['Timeout', `${settings.timeout} s`],
          ['Calls at once in a sandbox', String(settings.concurrency)],
          [
            'Isolation',
            settings.isolation.mode === 'request' ? 'a fresh sandbox for each call' : 'sandbox is kept',
          ],
          ['Tries of a queued call', String(data.settings.retries.attempts)],
          ...(schedule ? ([['Schedule', `${schedule.cron} (${schedule.timezone})`]] as const) : []),
          ['Variables', settings.env.length === 0 ? 'none' : settings.env.join(', ')],
        ]}
      />
    </Card>
  );
}

function Versions({
  namespace,
  name,
  data,
  now,
}: {
  namespace: string;
  name: string;
  data: NonNullable<ReturnType<typeof useLive<'function'>>['data']>;
  now: number;
}): JSX.Element {
  const { doing, said, run } = useDoing();
  const activate = (version: number): void =>
    run(async () => {
      await api('POST', `/functions/${namespace}/${name}/activate`, { version });
      return `Calls go to v${version} now.`;
    });
  return (
    <Card title="Versions">
      {said}
      <Table label="Versions" head={['Version', 'Deployed', { text: 'Archive', number: true }, 'Digest', '']}>
        {data.versions.map(({ version, createdAt, archiveBytes, digest }) => (
          <tr key={version}>
            <td>v{version}</td>
            <td class="muted">{ago(createdAt, now)}</td>
            <td class="number">{bytes(archiveBytes)}</td>
            <td class="mono muted">{digest.slice(0, 12)}</td>
            <td class="right">
              {version === data.function.activeVersion ? (
                <span class="chip ok">active</span>
              ) : (
                may('deploy') && (
                  <button type="button" disabled={doing} onClick={() => activate(version)}>
                    Make v{version} active
                  </button>
                )
              )}
            </td>
          </tr>
        ))}
      </Table>
    </Card>
  );
}
