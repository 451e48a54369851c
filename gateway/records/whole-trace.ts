/** Finds all invocations of one trace, and builds one tree from their spans. */
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { isFailure, OUTCOMES } from '#contract/invocations/outcome.ts';
import { earlierTries, runSpanId, spansOf, type Span } from '#contract/invocations/trace.ts';
import {
  MAX_TRACE_INVOCATIONS,
  MAX_TRACE_SPANS,
  type TraceInvocation,
  type TraceProcess,
  type TraceSpan,
  type WholeTrace,
} from '#contract/invocations/whole-trace.ts';
import type { InvocationStore } from './invocations.ts';
import type { Samples } from './samples.ts';
import { EVERY_NAMESPACE } from '#contract/functions/names.ts';

/** Stores in which a trace is searched. */
export interface TraceStores {
  readonly functions: {
    namespaces(): Promise<string[]>;
    names(namespace: string): Promise<string[]>;
  };
  readonly invocations: Pick<InvocationStore, 'find' | 'findAll' | 'withLateSpans'>;
  readonly dashboard: { readonly samples: Pick<Samples, 'of'> };
}

/** Time after the last invocation within which a function's own span still extends the trace; its clock may be wrong. */
const LATE_MS = 60_000;

/**
 * The trace as far as the key may see it. It is searched in the dashboard's samples, which hold only the newest invocations of a
 * busy function. `hint`, the id of one of its invocations, is looked up in any case. `fresh`: as the trace is now, and not as it
 * was a moment ago. Throws `trace_not_found`.
 */
export async function findTrace(
  deps: TraceStores,
  { namespace: own }: Pick<ApiKeyRecord, 'namespace'>,
  traceId: string,
  { hint, fresh = false }: { hint?: string | undefined; fresh?: boolean } = {},
): Promise<WholeTrace> {
  const namespaces = own === EVERY_NAMESPACE ? await deps.functions.namespaces() : [own];
  const lists = await Promise.all(
    namespaces.map(async (namespace) => {
      const names = await deps.functions.names(namespace);
      return await Promise.all(
        names.map(async (name) => {
          const samples = await deps.dashboard.samples.of(namespace, name, fresh);
          return samples.filter((sample) => sample.traceId === traceId);
        }),
      );
    }),
  );
  const hinted = hint === undefined ? undefined : await deps.invocations.find(hint);
  const ids = new Set(hinted?.traceId === traceId ? [hinted.id] : []);
  for (const { id } of lists.flat(2).toSorted((a, b) => a.startedAt - b.startedAt)) ids.add(id);
  // The root is the oldest, so the oldest are kept.
  const records = await deps.invocations.findAll([...ids].slice(0, MAX_TRACE_INVOCATIONS));
  const visible = records
    .filter((record) => record !== undefined)
    .filter((record) => record.traceId === traceId && (own === EVERY_NAMESPACE || record.namespace === own));
  if (visible.length === 0) throw new OffshootError('trace_not_found', `there is no trace ${traceId}`);
  const whole = await Promise.all(
    visible.map(async (record) =>
      record.state === 'done' ? await deps.invocations.withLateSpans(record) : record,
    ),
  );
  return traceOf(traceId, whole, Math.max(0, ids.size - MAX_TRACE_INVOCATIONS));
}

/** The tree of some invocations of one trace. `cut`: number of further invocations that it has. */
export function traceOf(traceId: string, records: readonly AnyInvocation[], cut = 0): WholeTrace {
  const ordered = records.toSorted((a, b) => a.startedAt - b.startedAt);
  const startedAt = ordered[0]?.startedAt ?? 0;
  const { nodes, left } = nodesOf(ordered, startedAt);
  const known = index(nodes, ordered);
  const callers = setParents(nodes, known);
  const spans = inOrder([...callers, ...nodes]);
  return {
    traceId,
    startedAt,
    duration: lengthOf(nodes),
    invocations: ordered.map((record) => invocationOf(record, startedAt)),
    spans,
    invocationsCut: cut,
    spansCut: left,
  };
}

/** A span that has no place in the tree yet. */
interface Node {
  readonly span: Omit<TraceSpan, 'depth'>;
  /** The function reported the span, and not the platform. */
  readonly own: boolean;
  parent?: Node | undefined;
  readonly below: Node[];
}

/**
 * Spans of all invocations, those of the platform first, and the number of spans beyond the limit. Only kept spans become
 * nodes: two hundred records may have ten times as many.
 */
function nodesOf(records: readonly AnyInvocation[], startedAt: number): { nodes: Node[]; left: number } {
  const calledFrom = new Set(records.map(({ parentSpanId }) => parentSpanId));
  // A span that called an invocation comes before others: without it, that invocation would have no parent.
  const rank = ({ own, spanId }: AnySpan): 0 | 1 | 2 => (!own ? 0 : calledFrom.has(spanId) ? 1 : 2);
  const ranked: { span: AnySpan; record: AnyInvocation }[][] = [[], [], []];
  for (const record of records)
    for (const span of spansOfAny(record)) ranked[rank(span)]?.push({ span, record });
  const all = ranked.flat();
  const kept = all.slice(0, MAX_TRACE_SPANS);
  return {
    nodes: kept.map(({ span, record }) => nodeOf(span, record, startedAt)),
    left: all.length - kept.length,
  };
}

type AnySpan = Omit<Span, 'duration'> & { readonly duration?: number };

/** Spans of an invocation, even of an open one, as far as they are known. */
function spansOfAny(record: AnyInvocation): AnySpan[] {
  if (record.state === 'done') return spansOf(record);
  const { spanId, parentSpanId, attempts = [], namespace, name, version, id, lane, startedAt } = record;
  const runs = record.state === 'running';
  const ended = runs ? attempts.length - 1 : attempts.length;
  const attributes = {
    'faas.name': `${namespace}/${name}`,
    'faas.version': String(version),
    'faas.invocation_id': id,
    'offshoot.lane': lane,
    'offshoot.state': record.state,
  };
  const run: AnySpan = {
    name: 'run',
    spanId: runSpanId(spanId, Math.max(0, ended)),
    parentSpanId: spanId,
    start: (attempts.at(-1)?.startedAt ?? startedAt) - startedAt,
    attributes: record.worker === undefined ? {} : { 'offshoot.worker': record.worker },
  };
  return [
    { name: 'invoke', spanId, parentSpanId, start: 0, attributes },
    ...earlierTries(record, Math.max(0, ended)),
    ...(runs ? [run] : []),
  ];
}

const KINDS = ['internal', 'server', 'client', 'producer', 'consumer'] as const;

function nodeOf(span: AnySpan, record: AnyInvocation, traceStart: number): Node {
  const { name, spanId, parentSpanId, start, duration, link, own, attributes } = span;
  const isRoot = spanId === record.spanId && own === undefined;
  const error = own ? own.error : errorOf(span, record, isRoot);
  return {
    own: own !== undefined,
    below: [],
    span: {
      name: isRoot ? `${record.namespace}/${record.name}` : name,
      spanId,
      ...(parentSpanId !== undefined && { parentSpanId }),
      process: own ? 'function' : processOf(name, record.lane),
      invocation: record.id,
      kind: own ? (KINDS[own.kind] ?? 'internal') : isRoot ? rootKind(record) : 'internal',
      start: record.startedAt - traceStart + start,
      ...(duration !== undefined && { duration }),
      ...(error !== undefined && { error }),
      ...(link !== undefined && { link }),
      attributes: { ...attributes },
    },
  };
}

function rootKind({ lane }: AnyInvocation): TraceSpan['kind'] {
  return lane === 'sync' ? 'server' : 'consumer';
}

function errorOf({ name, attributes }: AnySpan, record: AnyInvocation, isRoot: boolean): string | undefined {
  if (name === 'attempt') return String(attributes['offshoot.outcome'] ?? 'it has no outcome');
  if (!isRoot || record.state !== 'done') return undefined;
  const { outcome } = record;
  return isFailure(outcome) ? OUTCOMES[outcome].meaning : undefined;
}

function processOf(name: string, lane: AnyInvocation['lane']): TraceProcess {
  if (name === 'queue') return 'queue';
  if (name === 'acquire' || name === 'init' || name === 'run' || name === 'attempt') return 'worker';
  // In the queued lane, the worker writes the end.
  return name === 'reply' && lane === 'queued' ? 'worker' : 'gateway';
}

/** Spans by their ids. When a function repeats an id, the first span with this id stays. */
function index(nodes: readonly Node[], records: readonly AnyInvocation[]): Map<string, Node> {
  const known = new Map<string, Node>();
  const put = (id: string, node: Node): void => void (known.has(id) || known.set(id, node));
  for (const node of nodes) put(node.span.spanId, node);
  for (const { spanId, attempts = [] } of records) {
    const root = known.get(spanId);
    if (!root) continue;
    // A run without a report has no span, but may have called other functions.
    for (let at = 0; at <= attempts.length; at++) put(runSpanId(spanId, at), root);
  }
  return known;
}

/** Gives each span its parent. For invocations that were called from elsewhere, parents are made up and returned. */
function setParents(nodes: readonly Node[], known: ReadonlyMap<string, Node>): Node[] {
  const roots = nodes.filter(isTop);
  const rootOf = new Map(roots.map((node) => [node.span.invocation, node]));
  const runOf = new Map(
    nodes.filter(({ own, span }) => !own && span.name === 'run').map((node) => [node.span.invocation, node]),
  );
  for (const node of nodes) {
    const { invocation } = node.span;
    if (node.own) {
      const told = known.get(node.span.parentSpanId ?? '');
      const fits = told?.span.invocation === invocation;
      // A span whose parent has not ended, or is in another invocation, belongs to this run all the same.
      node.parent = fits && !isBelow(told, node) ? told : (runOf.get(invocation) ?? rootOf.get(invocation));
    } else if (!isTop(node)) node.parent = rootOf.get(invocation);
  }
  const callers = new Map<string, Node>();
  for (const node of roots) {
    const { parentSpanId } = node.span;
    if (parentSpanId === undefined) continue;
    const parent = known.get(parentSpanId);
    // A caller can name a parent that is made later, below its own call.
    if (parent) node.parent = isBelow(parent, node) ? undefined : parent;
    else node.parent = callers.get(parentSpanId) ?? callerOf(parentSpanId, callers);
  }
  return [...callers.values()];
}

function isTop({ own, span }: Node): boolean {
  return !own && (span.kind === 'server' || span.kind === 'consumer');
}

/** Whether `node` is `above` or a descendant of it. */
function isBelow(node: Node | undefined, above: Node): boolean {
  for (let at = node; at; at = at.parent) if (at === above) return true;
  return false;
}

function callerOf(spanId: string, callers: Map<string, Node>): Node {
  const span = { name: 'caller', spanId, process: 'caller', kind: 'client', attributes: {} } as const;
  const node: Node = { span, own: false, below: [] };
  callers.set(spanId, node);
  return node;
}

/** Each span is followed by all its descendants; siblings are in the order of their times. */
function inOrder(nodes: readonly Node[]): TraceSpan[] {
  const top: Node[] = [];
  for (const node of nodes) (node.parent?.below ?? top).push(node);
  const ordered: TraceSpan[] = [];
  const open = byStart(top).map((node) => ({ node, depth: 0 }));
  for (let next = open.shift(); next; next = open.shift()) {
    const { node, depth } = next;
    ordered.push({ ...node.span, depth });
    open.unshift(...byStart(node.below).map((below) => ({ node: below, depth: depth + 1 })));
  }
  return ordered;
}

function byStart(nodes: readonly Node[]): Node[] {
  return nodes.toSorted((a, b) => startOf(a) - startOf(b));
}

function startOf({ span, below }: Node): number {
  // The start of a caller is unknown, so its first call stands for it.
  return span.start ?? Math.min(...below.map((node) => node.span.start ?? 0));
}

function lengthOf(nodes: readonly Node[]): number {
  const end = ({ span: { start = 0, duration = 0 } }: Node): number => start + duration;
  const last = Math.max(0, ...nodes.filter(({ own }) => !own).map(end));
  return Math.max(last, ...nodes.map(end).filter((at) => at <= last + LATE_MS));
}

function invocationOf(record: AnyInvocation, traceStart: number): TraceInvocation {
  const { id, namespace, name, version, lane, state, startedAt } = record;
  const common = { id, namespace, name, version, lane, state, start: startedAt - traceStart };
  if (record.state !== 'done') return common;
  const { outcome, status, duration } = record;
  return { ...common, outcome, status, duration };
}
