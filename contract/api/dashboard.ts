/**
 * What the dashboard's pages show: made by the gateway (gateway/dashboard/), drawn by the browser (dashboard/). Types only:
 * the browser believes the gateway that it came from, and a schema library would be larger than all of its code.
 */
import type { FunctionView, ScheduleView, WorkerStatus } from './api.ts';
import type { Batch } from '../invocations/batch.ts';
import type { AnyInvocation, InvocationRecord, LogLine } from '../invocations/invocation.ts';
import type { IsolationReceipt } from '../functions/isolation.ts';
import type { Outcome } from '../invocations/outcome.ts';
import type { WholeTrace } from '../invocations/whole-trace.ts';

/** Who is signed in; in the document itself. */
export interface SignedIn {
  readonly namespace: string;
  readonly scopes: readonly string[];
  readonly version: string;
  /** Value of PAGE_HEADER. */
  readonly page: string;
}

/** What a list shows of an invocation, and what rates and percentiles are computed from. */
export interface Sample {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  readonly lane: 'sync' | 'queued';
  readonly state: AnyInvocation['state'];
  readonly outcome?: Outcome;
  readonly status?: number;
  readonly startedAt: number;
  readonly duration?: number;
  /** Why it found no idle sandbox. */
  readonly cold?: string;
  readonly tries: number;
  readonly traceId: string;
  /** The first words of its error. */
  readonly message?: string;
}

/** Of a stretch of time. Milliseconds and shares; what cannot be said without a single call is absent. */
export interface Traffic {
  readonly count: number;
  readonly perMinute: number;
  readonly failed: number;
  readonly p50?: number;
  readonly p99?: number;
  readonly cold?: number;
}

export interface FunctionRow {
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  readonly runtime: string;
  readonly access: string;
  readonly updatedAt: number;
  readonly running: number;
  readonly traffic: Traffic;
  /** Calls in equal parts of the window, oldest first, and how many of them failed. */
  readonly spark: readonly (readonly [calls: number, failed: number])[];
}

export interface FunctionsPage {
  readonly minutes: number;
  readonly functions: readonly FunctionRow[];
}

export interface Bucket {
  /** Unix time in milliseconds of its beginning. */
  readonly at: number;
  readonly ok: number;
  readonly failed: number;
  readonly cold: number;
  readonly p50?: number;
  readonly p99?: number;
}

export interface FunctionPage {
  readonly minutes: number;
  readonly function: FunctionView;
  readonly versions: readonly { version: number; createdAt: number; archiveBytes: number; digest: string }[];
  readonly traffic: Traffic;
  readonly running: number;
  readonly buckets: readonly Bucket[];
  /** Unix time in milliseconds from which on the figures are whole, where that is less than the time shown. */
  readonly since?: number;
  /** Invocations that the figures are made from, of all times. */
  readonly kept: number;
  readonly runs: readonly Sample[];
}

export interface InvocationsPage {
  readonly invocations: readonly Sample[];
  /** How many fit the filter, of how many that were looked through. */
  readonly matched: number;
  readonly looked: number;
  /** Names for the filter. */
  readonly functions: readonly string[];
}

/** A body, as far as it is shown. */
export interface Preview {
  readonly type: string;
  readonly bytes: number;
  /** Absent where it is not text. */
  readonly text?: string;
  readonly cut: boolean;
}

export interface InvocationPage {
  readonly record: AnyInvocation;
  /** What its outcome means and what to do next, by the table of outcomes. */
  readonly outcome?: { readonly meaning: string; readonly next: string; readonly fault: string };
  readonly spans: readonly {
    readonly name: string;
    readonly spanId: string;
    readonly parentSpanId?: string;
    readonly start: number;
    readonly duration: number;
    readonly attributes: Readonly<Record<string, string | number | boolean>>;
  }[];
  readonly logs: readonly LogLine[];
  /** Lines that are not shown. */
  readonly logsCut: number;
  readonly input?: Preview;
  readonly result?: Preview & { readonly status: number };
  readonly isolation?: IsolationReceipt;
  /** Bytes that it may use. */
  readonly memoryLimit?: number;
}

export interface QueueRow {
  readonly namespace: string;
  readonly waiting: number;
  readonly active: number;
  readonly delayed: number;
  /** Calls of the sync lane that no worker has taken yet. */
  readonly lane: number;
  readonly dead: number;
  /** There may be more dead letters than that, which were not counted. */
  readonly deadMore: boolean;
}

export interface QueuesPage {
  readonly queues: readonly QueueRow[];
  readonly dead: readonly InvocationRecord[];
}

export interface BatchesPage {
  readonly batches: readonly Batch[];
}

export interface SchedulesPage {
  readonly schedules: readonly (ScheduleView & { readonly last?: Sample })[];
}

export interface WorkersPage {
  readonly workers: readonly WorkerStatus[];
}

export interface NamespacesPage {
  readonly minutes: number;
  readonly namespaces: readonly {
    readonly namespace: string;
    readonly functions: number;
    readonly queued: number;
    readonly dead: number;
    readonly deadMore: boolean;
    readonly traffic: Traffic;
  }[];
}

/** Name of a live view → what it is made of. */
export interface Pages {
  functions: FunctionsPage;
  function: FunctionPage;
  invocations: InvocationsPage;
  invocation: InvocationPage;
  trace: WholeTrace;
  queues: QueuesPage;
  batches: BatchesPage;
  schedules: SchedulesPage;
  workers: WorkersPage;
  namespaces: NamespacesPage;
}
