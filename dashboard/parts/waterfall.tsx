/** @jsxImportSource preact */
/** The spans of an invocation as bars over time. */
import type { JSX } from 'preact';
import type { InvocationPage } from '#contract/api/dashboard.ts';
import { ms } from './format.ts';

/** Meanings of the platform's own spans, by their names. */
export const MEANINGS: Readonly<Record<string, string>> = {
  invoke: 'from the request to the end of the answer',
  gateway: 'access, limits, reading the request',
  queue: 'waiting in Redis, and the way there and back',
  acquire: 'waiting for a sandbox, including its start',
  init: 'loading the module',
  run: 'the function itself',
  reply: 'sending the answer',
};

const MAX_DEPTH = 12;

export function Waterfall({ spans }: { spans: InvocationPage['spans'] }): JSX.Element {
  const whole = Math.max(...spans.map(({ start, duration }) => start + duration), 0.001);
  const parents = new Map(spans.map(({ spanId, parentSpanId }) => [spanId, parentSpanId]));
  return (
    <ol class="waterfall">
      {spans.map((span) => {
        const depth = depthOf(span.parentSpanId, parents);
        const left = (span.start / whole) * 100;
        const width = Math.max(0.3, (span.duration / whole) * 100);
        const note = [
          span.attributes['offshoot.acquire.kind'],
          span.attributes['offshoot.acquire.cold_reason'],
          span.attributes['offshoot.network.denied'],
          span.attributes['offshoot.unfinished'] === true ? 'unfinished' : undefined,
        ]
          .filter((part) => part !== undefined)
          .join(', ')
          .replaceAll('_', ' ');
        return (
          <li key={span.spanId} title={MEANINGS[span.name] ?? span.name}>
            <span
              class={depth === 0 ? 'span-name root' : 'span-name'}
              style={{ paddingLeft: `${depth * 14}px` }}
            >
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

/** Number of its ancestors that are shown. The bound also ends a loop of spans that name each other as parents. */
function depthOf(parent: string | undefined, parents: ReadonlyMap<string, string | undefined>): number {
  let depth = 0;
  for (let at = parent; at !== undefined && parents.has(at) && depth < MAX_DEPTH; at = parents.get(at))
    depth++;
  return depth;
}
