/** @jsxImportSource preact */
/** Charts as plain SVG. The shapes are stretched to the available width; text stays HTML, and so stays sharp. */
import type { JSX } from 'preact';
import type { Bucket } from '#contract/api/dashboard.ts';
import { clock, count, ms } from './format.ts';

const HEIGHT = 100;

/** A small chart of the calls in the last minutes. */
export function Spark({ parts }: { parts: readonly (readonly [number, number])[] }): JSX.Element {
  const most = Math.max(1, ...parts.map(([calls]) => calls));
  const total = parts.reduce((sum, [calls]) => sum + calls, 0);
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${parts.length * 4} 24`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${count(total)} calls, ${count(most)} at most at once`}
    >
      <line x1="0" x2={parts.length * 4} y1="23.5" y2="23.5" class="base" />
      {parts.map(([calls, failed], index) => {
        const height = calls === 0 ? 0 : Math.max(2, (calls / most) * 23);
        const bad = calls === 0 ? 0 : (failed / calls) * height;
        return (
          <g key={index}>
            <rect x={index * 4} y={24 - height} width="3" height={height - bad} class="ok" />
            <rect x={index * 4} y={24 - bad} width="3" height={bad} class="bad" />
          </g>
        );
      })}
    </svg>
  );
}

function Frame({
  most,
  buckets,
  label,
  children,
}: {
  most: string;
  buckets: readonly Bucket[];
  label: string;
  children: JSX.Element | JSX.Element[];
}): JSX.Element {
  const first = buckets[0]?.at ?? 0;
  const middle = buckets[Math.floor(buckets.length / 2)]?.at ?? 0;
  return (
    <div class="chart">
      <div class="axis-y" aria-hidden="true">
        <span>{most}</span>
        <span>0</span>
      </div>
      <svg
        viewBox={`0 0 ${buckets.length * 10} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={label}
      >
        {[0.5, 25, 50, 75, 99.5].map((y) => (
          <line key={y} x1="0" x2={buckets.length * 10} y1={y} y2={y} class="grid" />
        ))}
        {children}
      </svg>
      <div class="axis-x" aria-hidden="true">
        <span>{clock(first).slice(0, 5)}</span>
        <span>{clock(middle).slice(0, 5)}</span>
        <span>now</span>
      </div>
    </div>
  );
}

export function Calls({ buckets }: { buckets: readonly Bucket[] }): JSX.Element {
  const most = Math.max(4, ...buckets.map(({ ok, failed }) => ok + failed));
  const calls = buckets.reduce((sum, { ok, failed }) => sum + ok + failed, 0);
  const failures = buckets.reduce((sum, { failed }) => sum + failed, 0);
  return (
    <Frame
      most={count(most)}
      buckets={buckets}
      label={`${count(calls)} calls, ${count(failures)} of them failed`}
    >
      {buckets.map(({ at, ok, failed }, index) => {
        const good = (ok / most) * HEIGHT;
        const bad = (failed / most) * HEIGHT;
        return (
          <g key={at}>
            <title>{`${clock(at)}: ${ok} ok, ${failed} failed`}</title>
            <rect x={index * 10 + 1} y={HEIGHT - good - bad} width="8" height={good} class="ok" />
            <rect x={index * 10 + 1} y={HEIGHT - bad} width="8" height={bad} class="bad" />
            <rect x={index * 10} y="0" width="10" height={HEIGHT} class="hover" />
          </g>
        );
      })}
    </Frame>
  );
}

export function Durations({ buckets }: { buckets: readonly Bucket[] }): JSX.Element {
  const most = Math.max(1, ...buckets.map(({ p99 = 0 }) => p99));
  const last = buckets.findLast(({ p50 }) => p50 !== undefined);
  const label = last ? `last: p50 ${ms(last.p50)}, p99 ${ms(last.p99)}` : 'no calls';
  return (
    <Frame most={ms(most)} buckets={buckets} label={`Duration, ${label}`}>
      {buckets.map(({ at, p50, p99 }, index) => {
        if (p50 === undefined || p99 === undefined) return <g key={at} />;
        const middle = HEIGHT - (p50 / most) * HEIGHT;
        const top = HEIGHT - (p99 / most) * HEIGHT;
        return (
          <g key={at}>
            <title>{`${clock(at)}: p50 ${ms(p50)}, p99 ${ms(p99)}`}</title>
            <rect x={index * 10 + 2} y={top} width="6" height={Math.max(1.5, HEIGHT - top)} class="p99" />
            <rect
              x={index * 10 + 2}
              y={middle}
              width="6"
              height={Math.max(1.5, HEIGHT - middle)}
              class="p50"
            />
            <rect x={index * 10} y="0" width="10" height={HEIGHT} class="hover" />
          </g>
        );
      })}
    </Frame>
  );
}

export function Colds({ buckets }: { buckets: readonly Bucket[] }): JSX.Element {
  const most = Math.max(4, ...buckets.map(({ cold }) => cold));
  const colds = buckets.reduce((sum, { cold }) => sum + cold, 0);
  return (
    <Frame most={count(most)} buckets={buckets} label={`${count(colds)} calls found no idle sandbox`}>
      {buckets.map(({ at, cold }, index) => {
        const height = (cold / most) * HEIGHT;
        return (
          <g key={at}>
            <title>{`${clock(at)}: ${cold} cold`}</title>
            <rect x={index * 10 + 1} y={HEIGHT - height} width="8" height={height} class="cold" />
            <rect x={index * 10} y="0" width="10" height={HEIGHT} class="hover" />
          </g>
        );
      })}
    </Frame>
  );
}
