/** @jsxImportSource preact */
import type { JSX } from 'preact';
import type { PoolStatus, WorkerStatus } from '#contract/api/api.ts';
import { count, lasting } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import { Card, Empty, Figure, Page, useNow } from '../parts/parts.tsx';

/** Upper bound on the cells of one pool; the rest is shown as a number. */
const MAX_CELLS = 400;

export function Workers(): JSX.Element {
  const live = useLive('workers', {});
  const now = useNow();
  const workers = live.data?.workers ?? [];
  return (
    <Page title="Workers" live={live}>
      {workers.length === 0 ? (
        <Empty title="No worker is alive, so nothing can run." command="offshoot doctor" />
      ) : (
        <>
          <p class="muted legend">
            <i class="cell busy" /> busy <i class="cell idle" /> idle, with its function loaded{' '}
            <i class="cell prepared" /> prepared, without a function yet
          </p>
          {workers.map((worker) => (
            <Worker key={worker.id} worker={worker} now={now} />
          ))}
        </>
      )}
    </Page>
  );
}

/** Least processor time of idle sandboxes that is shown. */
const NOTABLE_IDLE_MS = 10_000;

function Worker({ worker, now }: { worker: WorkerStatus; now: number }): JSX.Element {
  const pools = (worker.pools ?? []).toSorted((a, b) => nameOf(a).localeCompare(nameOf(b)));
  return (
    <Card title={`Worker ${worker.id}`} note={`up for ${lasting(now - worker.startedAt)}`}>
      <div class="figures small-figures">
        <Figure name="Running" value={`${count(worker.running)} of ${count(worker.capacity)}`} />
        <Figure name="Busy" value={count(worker.busy)} />
        <Figure name="Idle" value={count(worker.idle)} />
        <Figure name="Prepared" value={count(worker.prepared)} />
      </div>
      {pools.length === 0 ? (
        <p class="muted">It holds no sandbox of yours.</p>
      ) : (
        <ul class="pools">
          {pools.map((pool) => (
            <li key={nameOf(pool)}>
              <span class="pool-name">
                {pool.name === undefined ? (
                  <span class="muted">
                    {pool.namespace}, {pool.runtime}
                  </span>
                ) : (
                  <a href={`/dashboard/functions/${pool.namespace}/${pool.name}`}>
                    <span class="muted">{pool.namespace}/</span>
                    {pool.name} <span class="muted">v{pool.version}</span>
                  </a>
                )}
              </span>
              <Cells of={pool} />
              {(pool.idleCpu ?? 0) >= NOTABLE_IDLE_MS && (
                <span class="muted small">
                  {lasting(pool.idleCpu ?? 0)} of processor time without an invocation
                </span>
              )}
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function nameOf({ namespace, name, version, runtime }: PoolStatus): string {
  // Prepared sandboxes come last within their namespace.
  return `${namespace}/${name ?? '~'}@${version ?? runtime}`;
}

function Cells({ of }: { of: PoolStatus }): JSX.Element {
  const states = (['busy', 'idle', 'prepared'] as const).filter((state) => of[state] > 0);
  const words = states.map((state) => `${of[state]} ${state}`).join(', ');
  const cells = states.flatMap((state) =>
    Array.from({ length: Math.min(of[state], MAX_CELLS) }, () => state),
  );
  const left = of.busy + of.idle + of.prepared - cells.length;
  return (
    <span class="cells" role="img" aria-label={words} title={words}>
      {cells.map((state, index) => (
        <i key={index} class={`cell ${state}`} />
      ))}
      {left > 0 && <span class="muted small">and {count(left)} more</span>}
    </span>
  );
}
