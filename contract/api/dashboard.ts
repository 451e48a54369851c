/**
 * Content of the dashboard's pages: made by the gateway (gateway/dashboard/), drawn by the browser (dashboard/). Types only:
 * the browser trusts the gateway that served it, and a schema library would be larger than all of its code.
 */
import type { FunctionView, ScheduleView, WorkerStatus } from './api.ts';
import type { Batch } from '../invocations/batch.ts';
import type { AnyInvocation, InvocationRecord, LogLine } from '../invocations/invocation.ts';
import type { IsolationReceipt } from '../functions/isolation.ts';
import type { Outcome } from '../invocations/outcome.ts';
import type { WholeTrace } from '../invocations/whole-trace.ts';

/** The signed-in user, as part of the document. */
export interface SignedIn {
  readonly namespace: string;
  readonly scopes: readonly string[];
  readonly version: string;
  /** Value of PAGE_HEADER. */
  readonly page: string;
}

/** An invocation in a list, and the basis of rates and percentiles. */
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
  /** Reason why there was no idle sandbox for it. */
  readonly cold?: string;
  readonly tries: number;
  readonly traceId: string;
  /** The first words of its error. */
  readonly message?: string;
}

/** Figures for a period, in milliseconds and shares. Figures that need at least one call are absent without any. */
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
  /** Calls in equal parts of the window, oldest first, and the number of failed ones. */
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
  /** Unix time in milliseconds from which on the figures are complete; set if that is later than the start of the window. */
  readonly since?: number;
  /** Number of kept invocations behind the figures, of all times. */
  readonly kept: number;
  readonly runs: readonly Sample[];
}

export interface InvocationsPage {
  readonly invocations: readonly Sample[];
  /** Number of invocations that match the filter, and number of those that were checked. */
  readonly matched: number;
  readonly looked: number;
  /** Names for the filter. */
  readonly functions: readonly string[];
}

/** A body, as far as it is shown. */
export interface Preview {
  readonly type: string;
  readonly bytes: number;
  /** Absent if the body is not text. */
  readonly text?: string;
  readonly cut: boolean;
}

export interface InvocationPage {
  readonly record: AnyInvocation;
  /** Meaning of its outcome and the next step, from the table of outcomes. */
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
  /** Number of lines that are not shown. */
  readonly logsCut: number;
  readonly input?: Preview;
  readonly result?: Preview & { readonly status: number };
  readonly isolation?: IsolationReceipt;
  /** Upper bound on its memory in bytes. */
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
  /** There may be more dead letters, which were not counted. */
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

/** Name of a live view → type of its content. */
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
