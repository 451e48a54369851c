/** @jsxImportSource preact */
/** Parts of pages. Content from functions is only ever a text child. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Sample } from '#contract/api/dashboard.ts';
import { isFailure, wasRequested } from '#contract/invocations/outcome.ts';
import { Refused, type Refusal } from '../client/api.ts';
import type { LiveView } from '../client/live.ts';
import { inWords } from './format.ts';

/** Ticks, so that "3 s ago" stays true. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

let isFirst = true;

export function Page({
  title,
  live,
  actions,
  above,
  children,
}: {
  title: string;
  live: Pick<LiveView<unknown>, 'data' | 'refusal' | 'link'>;
  actions?: ComponentChildren;
  above?: ComponentChildren;
  children: ComponentChildren;
}): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Offshoot`;
    // The focus tells a screen reader of a new page. After a load of the document, the reader begins at the top by itself.
    if (!isFirst) heading.current?.focus({ preventScroll: true });
    isFirst = false;
  }, [title]);
  return (
    <>
      {above}
      <div class="page-head">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        <LinkMark link={live.link} />
        <div class="actions">{actions}</div>
      </div>
      {live.refusal && <Problem refusal={live.refusal} />}
      {live.data !== undefined ? children : !live.refusal && <p class="muted">Loading…</p>}
    </>
  );
}

function LinkMark({ link }: { link: LiveView<unknown>['link'] }): JSX.Element {
  const words = { connecting: 'connecting', live: 'live', lost: 'not connected' };
  return <span class={`link-mark ${link}`}>{words[link]}</span>;
}

export function Problem({ refusal }: { refusal: Refusal }): JSX.Element {
  return (
    <div class="problem" role="alert">
      <strong>{sentence(refusal.message)}</strong>
      <span>{sentence(refusal.next)}</span>
    </div>
  );
}

export function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** The next step where there is no content yet. */
export function Empty({
  title,
  children,
  command,
}: {
  title: string;
  children?: ComponentChildren;
  command?: string;
}): JSX.Element {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <p>{children}</p>}
      {command && <pre class="command">{command}</pre>}
    </div>
  );
}

/** State and outcome: by word and by shape, not by colour alone. */
export function Outcome({ of }: { of: Pick<Sample, 'state' | 'outcome' | 'status'> }): JSX.Element {
  const outcome = of.state === 'done' ? of.outcome : undefined;
  if (outcome === undefined)
    return <span class={`chip ${of.state === 'done' ? 'bad' : of.state}`}>{of.state}</span>;
  const answered = !isFailure(outcome);
  const kind = answered ? 'ok' : wasRequested(outcome) ? 'quiet' : 'bad';
  const code = answered && of.status !== undefined && of.status !== 200 ? ` ${of.status}` : '';
  return <span class={`chip ${kind}`}>{inWords(outcome) + code}</span>;
}

export function FunctionLink({ namespace, name }: { namespace: string; name: string }): JSX.Element {
  return (
    <a href={`/dashboard/functions/${namespace}/${name}`} class="function-link">
      <span class="muted">{namespace}/</span>
      {name}
    </a>
  );
}

export function InvocationLink({ id }: { id: string }): JSX.Element {
  return (
    <a href={`/dashboard/invocations/${encodeURIComponent(id)}`} class="mono" title={id}>
      {id.length > 13 ? `${id.slice(0, 4)}…${id.slice(-6)}` : id}
    </a>
  );
}

/** A region that scrolls sideways must be reachable by keyboard. */
export function Table({
  label,
  head,
  children,
}: {
  label: string;
  head: readonly (string | { text: string; number: true; title?: string })[];
  children: ComponentChildren;
}): JSX.Element {
  return (
    <div class="table-wrap" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {head.map((cell) =>
              typeof cell === 'string' ? (
                <th key={cell} scope="col">
                  {cell}
                </th>
              ) : (
                <th key={cell.text} scope="col" class="number" title={cell.title}>
                  {cell.text}
                </th>
              ),
            )}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

export function Card({
  title,
  note,
  children,
  wide = false,
}: {
  title: string;
  note?: ComponentChildren;
  children: ComponentChildren;
  wide?: boolean;
}): JSX.Element {
  return (
    <section class={wide ? 'card wide' : 'card'}>
      <h2>
        {title}
        {note !== undefined && <span class="note">{note}</span>}
      </h2>
      {children}
    </section>
  );
}

export function Facts({ of }: { of: readonly (readonly [string, ComponentChildren])[] }): JSX.Element {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Figure({ name, value, tone }: { name: string; value: string; tone?: string }): JSX.Element {
  return (
    <div class={`figure ${tone ?? ''}`}>
      <span class="figure-name">{name}</span>
      <span class="figure-value">{value}</span>
    </div>
  );
}

/** Shows the result of the last action, to eyes and to screen readers. */
export function useDoing(): {
  doing: boolean;
  said: JSX.Element;
  run: (act: () => Promise<string>) => void;
} {
  const [doing, setDoing] = useState(false);
  const [text, setText] = useState('');
  const [refusal, setRefusal] = useState<Refusal>();
  const run = (act: () => Promise<string>): void => {
    setDoing(true);
    setText('');
    setRefusal(undefined);
    act()
      .then(setText)
      .catch((error: unknown) => {
        setRefusal(
          error instanceof Refused
            ? error.refusal
            : { code: 'error', message: String(error), next: 'reload the page and try again' },
        );
      })
      .finally(() => setDoing(false));
  };
  const said = (
    <div class="said" role="status" aria-live="polite">
      {text && <p class="done">{text}</p>}
      {refusal && (
        <p class="failed">
          <strong>{sentence(refusal.message)}</strong> {sentence(refusal.next)}
        </p>
      )}
    </div>
  );
  return { doing, said, run };
}

/** Asks before an action that cannot be undone. */
export function Confirm({
  label,
  question,
  yes,
  disabled,
  act,
}: {
  label: string;
  question: string;
  yes: string;
  disabled: boolean;
  act: () => void;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  return (
    <>
      <button type="button" class="danger" disabled={disabled} onClick={() => dialog.current?.showModal()}>
        {label}
      </button>
      <dialog ref={dialog} aria-label={label}>
        <p>{question}</p>
        <div class="row end">
          <button type="button" onClick={() => dialog.current?.close()}>
            Keep
          </button>
          <button
            type="button"
            class="danger"
            onClick={() => {
              dialog.current?.close();
              act();
            }}
          >
            {yes}
          </button>
        </div>
      </dialog>
    </>
  );
}

/** JSON with indents; other text unchanged. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
