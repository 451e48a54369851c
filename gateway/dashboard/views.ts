/** The views that the pages of the dashboard show. A view is read again and again while its page is open; see live.ts. */
import { z } from 'zod';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import type { FunctionRow, Pages, QueueRow, Sample } from '#contract/api/dashboard.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { Outcome, type InvocationRecord } from '#contract/invocations/invocation.ts';
import { EVERY_NAMESPACE, Name } from '#contract/functions/names.ts';
import { TRACE_ID } from '#contract/invocations/whole-trace.ts';
import type { StoredFunction } from '#storage/functions/function-repository.ts';
import { existing, viewOf } from '../routes/functions.ts';
import { OfInvocation } from '../routes/endpoint.ts';
import { findTrace } from '../records/whole-trace.ts';
import { invocationView } from './invocation-view.ts';
import { bucketsOf, failed, trafficOf } from './traffic.ts';
import type { Viewer } from './viewer.ts';

interface View<P extends z.ZodType, T> {
  readonly params: P;
  /** Milliseconds between two reads. */
  readonly everyMs: number;
  readonly look: (viewer: Viewer, params: z.infer<P>) => Promise<T>;
}

const MINUTES_SHOWN = 15;
const SPARK_PARTS = 30;
const CHART_PARTS = 60;
const RUNS_SHOWN = 30;
const ROWS_SHOWN = 200;
const DEAD_SHOWN = 200;
const BATCHES_SHOWN = 50;

function view<P extends z.ZodType, T>(
  params: P,
  everyMs: number,
  look: (viewer: Viewer, params: z.infer<P>) => Promise<T>,
): View<P, T> {
  return { params, everyMs, look };
}

async function namespacesOf({ deps, holder }: Viewer): Promise<string[]> {
  const own = holder.namespace;
  return own === EVERY_NAMESPACE ? (await deps.functions.namespaces()).toSorted() : [own];
}

async function functionsOf(viewer: Viewer): Promise<StoredFunction[]> {
  const namespaces = await namespacesOf(viewer);
  return (await Promise.all(namespaces.map((one) => viewer.deps.functions.list(one)))).flat();
}

const functions = view(z.object({}), 1_000, async (viewer): Promise<Pages['functions']> => {
  const now = Date.now();
  const found = await functionsOf(viewer);
  const rows = await Promise.all(
    found.map(async ({ record, active }): Promise<FunctionRow> => {
      const { namespace, name, updatedAt } = record;
      const samples = await viewer.deps.dashboard.samples.of(namespace, name);
      const knownFrom = viewer.deps.dashboard.samples.knownFrom(namespace, name);
      return {
        namespace,
        name,
        updatedAt,
        version: record.activeVersion,
        runtime: active.settings.runtime,
        access: record.settings.access,
        running: running(samples),
        traffic: trafficOf(samples, MINUTES_SHOWN, now, knownFrom),
        spark: bucketsOf(samples, MINUTES_SHOWN, SPARK_PARTS, now).map(
          (bucket) => [bucket.ok + bucket.failed, bucket.failed] as const,
        ),
      };
    }),
  );
  return { minutes: MINUTES_SHOWN, functions: rows.toSorted(byName) };
});

const OneFunction = z.object({
  namespace: Name,
  name: Name,
  minutes: z.coerce
    .number()
    .pipe(z.union([z.literal(15), z.literal(60), z.literal(1_440)]))
    .default(15),
});

const oneFunction = view(
  OneFunction,
  1_000,
  async ({ deps, holder }, { namespace, name, minutes }): Promise<Pages['function']> => {
    demandNamespace(holder, namespace);
    const found = await existing(deps, namespace, name, holder);
    const [versions, samples] = await Promise.all([
      deps.functions.versions(namespace, name),
      deps.dashboard.samples.of(namespace, name),
    ]);
    const now = Date.now();
    // The kept samples of a busy function may not reach back as far as the page does.
    const knownFrom = deps.dashboard.samples.knownFrom(namespace, name);
    const since = knownFrom !== undefined && knownFrom > now - minutes * 60_000 ? knownFrom : undefined;
    return {
      minutes,
      function: viewOf(found),
      versions: versions
        .map(({ version, createdAt, archiveBytes, digest }) => ({ version, createdAt, archiveBytes, digest }))
        .toSorted((a, b) => b.version - a.version),
      traffic: trafficOf(samples, minutes, now, since),
      ...(since !== undefined && { since }),
      kept: samples.length,
      running: running(samples),
      buckets: bucketsOf(samples, minutes, CHART_PARTS, now),
      runs: samples.slice(0, RUNS_SHOWN),
    };
  },
);

const Filter = z.object({
  function: z.string().max(200).optional(),
  outcome: z.union([Outcome, z.enum(['failed', 'open'])]).optional(),
  trace: z.string().max(64).optional(),
  /** Only invocations of the last minutes, by this number. */
  minutes: z.coerce.number().min(0).optional(),
  /** Only invocations that took at least this number of milliseconds. */
  slower: z.coerce.number().min(0).optional(),
});

const invocations = view(Filter, 1_000, async (viewer, filter): Promise<Pages['invocations']> => {
  const names = (
    await Promise.all(
      (await namespacesOf(viewer)).map(async (namespace) => {
        return (await viewer.deps.functions.names(namespace)).map((name) => `${namespace}/${name}`);
      }),
    )
  ).flat();
  const chosen = filter.function ? names.filter((one) => one === filter.function) : names;
  const all = await Promise.all(
    chosen.map((one) => {
      const [namespace = '', name = ''] = one.split('/');
      return viewer.deps.dashboard.samples.of(namespace, name);
    }),
  );
  const from = filter.minutes === undefined ? 0 : Date.now() - filter.minutes * 60_000;
  const found: Sample[] = [];
  let looked = 0;
  for (const samples of all) {
    looked += samples.length;
    for (const sample of samples) if (sample.startedAt >= from && fits(sample, filter)) found.push(sample);
  }
  return {
    invocations: found.toSorted((a, b) => b.startedAt - a.startedAt).slice(0, ROWS_SHOWN),
    matched: found.length,
    looked,
    functions: names.toSorted(),
  };
});

function fits(sample: Sample, { outcome, trace, slower }: z.infer<typeof Filter>): boolean {
  if (trace !== undefined && sample.traceId !== trace && sample.id !== trace) return false;
  if (slower !== undefined && (sample.duration ?? 0) < slower) return false;
  if (outcome === undefined) return true;
  if (outcome === 'failed') return failed(sample);
  return outcome === 'open' ? sample.state !== 'done' : sample.outcome === outcome;
}

const OneTrace = z.object({
  trace: z.string().regex(TRACE_ID, 'not the id of a trace'),
  /** Id of one of its invocations, from whose page it was opened. */
  invocation: OfInvocation.shape.id.optional(),
});

const trace = view(OneTrace, 1_000, async ({ deps, holder }, { trace: id, invocation: hint }) => {
  return await findTrace(deps, holder, id, { hint });
});

const queues = view(z.object({}), 1_000, async (viewer): Promise<Pages['queues']> => {
  const namespaces = await namespacesOf(viewer);
  const found = await Promise.all(namespaces.map((namespace) => queueOf(viewer, namespace)));
  const rows = found.map(({ row }) => row);
  const newest = found
    .flatMap(({ letters }) => letters)
    .toSorted((a, b) => b.startedAt + b.duration - a.startedAt - a.duration);
  return { queues: rows, dead: newest.slice(0, DEAD_SHOWN) };
});

/**
 * Dead letters are counted from the list, because the index may name some that are no longer dead letters. Where the index is
 * longer than the list, the number is a lower bound.
 */
async function queueOf(
  { deps }: Viewer,
  namespace: string,
): Promise<{ row: QueueRow; letters: InvocationRecord[] }> {
  const [{ deadListed, ...counts }, letters] = await Promise.all([
    deps.dashboard.queueCounts(namespace),
    deps.queued.deadLetters(namespace, {}, DEAD_SHOWN),
  ]);
  const row = { namespace, ...counts, dead: letters.length, deadMore: deadListed > DEAD_SHOWN };
  return { row, letters };
}

const batches = view(z.object({}), 1_000, async (viewer): Promise<Pages['batches']> => {
  const namespaces = await namespacesOf(viewer);
  const found = await Promise.all(
    namespaces.map((namespace) => viewer.deps.batches.store.list(namespace, BATCHES_SHOWN)),
  );
  return {
    batches: found
      .flat()
      .toSorted((a, b) => b.createdAt - a.createdAt)
      .slice(0, BATCHES_SHOWN),
  };
});

const schedules = view(z.object({}), 5_000, async (viewer): Promise<Pages['schedules']> => {
  const found = await functionsOf(viewer);
  const rows = await Promise.all(
    found.map(async ({ record }) => {
      const { schedule } = record.settings;
      if (!schedule) return [];
      const last = await viewer.deps.dashboard.lastScheduled(record.namespace, record.name);
      const next = viewer.deps.schedules.view(record.namespace, record.name, schedule);
      return [{ ...next, ...(last && { last }) }];
    }),
  );
  return { schedules: rows.flat() };
});

const workers = view(z.object({}), 500, async ({ deps, holder }): Promise<Pages['workers']> => {
  const found = await deps.invocations.workers(holder.namespace);
  return { workers: found.toSorted((a, b) => a.startedAt - b.startedAt) };
});

const namespaces = view(z.object({}), 2_000, async (viewer): Promise<Pages['namespaces']> => {
  const now = Date.now();
  const rows = (await namespacesOf(viewer)).map(async (namespace) => {
    const [names, { row: queue }] = await Promise.all([
      viewer.deps.functions.names(namespace),
      queueOf(viewer, namespace),
    ]);
    const samples = await Promise.all(names.map((name) => viewer.deps.dashboard.samples.of(namespace, name)));
    const together = samples.flat().toSorted((a, b) => b.startedAt - a.startedAt);
    return {
      namespace,
      functions: names.length,
      queued: queue.waiting + queue.active + queue.delayed,
      dead: queue.dead,
      deadMore: queue.deadMore,
      traffic: trafficOf(together, MINUTES_SHOWN, now),
    };
  });
  return { minutes: MINUTES_SHOWN, namespaces: await Promise.all(rows) };
});

export const VIEWS = {
  functions,
  function: oneFunction,
  invocations,
  invocation: invocationView,
  trace,
  queues,
  batches,
  schedules,
  workers,
  namespaces,
} satisfies { [K in keyof Pages]: View<z.ZodType, Pages[K]> | typeof invocationView };

/** Refuses the data of other namespaces before anything is looked up. */
function demandNamespace(holder: ApiKeyRecord, namespace: string): void {
  if (holder.namespace === EVERY_NAMESPACE || holder.namespace === namespace) return;
  throw new OffshootError('forbidden', `your key does not hold for the namespace "${namespace}"`);
}

function byName(a: FunctionRow, b: FunctionRow): number {
  return a.namespace.localeCompare(b.namespace) || a.name.localeCompare(b.name);
}

function running(samples: readonly Sample[]): number {
  return samples.filter(({ state }) => state === 'running').length;
}
