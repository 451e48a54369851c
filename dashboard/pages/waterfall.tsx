/** @jsxImportSource preact */
/** The spans of an invocation as bars over time. */
import type { JSX } from 'preact';
import type { InvocationPage } from '#contract/dashboard.ts';
import { ms } from '../format.ts';

const MEANINGS: Readonly<Record<string, string>> = {
  invoke: 'from the request to the end of the answer',
  gateway: 'access, limits, reading the request',
  queue: 'waiting in Redis, and the way to and fro',
  acquire: 'waiting for a sandbox, its making included',
  init: 'loading the module',
  run: 'the function itself',
  reply: 'sending the answer',
};

export function Waterfall({ spans }: { spans: InvocationPage['spans'] }): JSX.Element {
  const whole = Math.max(...spans.map(({ start, duration }) => start + duration), 0.001);
  return (
    <ol class="waterfall">
      {spans.map((span, index) => {
        const left = (span.start / whole) * 100;
        const width = Math.max(0.3, (span.duration / whole) * 100);
        const note = [
          span.attributes['offshoot.acquire.kind'],
          span.attributes['offshoot.acquire.cold_reason'],
          span.attributes['offshoot.network.denied'],
        ]
          .filter((part) => part !== undefined)
          .join(', ')
          .replaceAll('_', ' ');
        return (
          <li key={index} title={MEANINGS[span.name] ?? span.name}>
            <span class={index === 0 ? 'span-name root' : 'span-name'}>
              {span.name}
              {note && <span class="muted small"> {note}</span>}
            </span>
            <span class="track" aria-hidden="true">
              <span
                class={`bar ${span.name}`}
                style={{ left: `${Math.min(left, 99.7)}%`, width: `${width}%` }}
              />
            </span>
            <span class="number">{ms(span.duration)}</span>
          </li>
        );
      })}
    </ol>
  );
}
