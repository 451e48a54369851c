/**
 * Bodies of the management API (/api/v1), seen by gateway and CLI. The OpenAPI document is made from these schemas.
 */
import { z } from 'zod';
import {
  AnyInvocation,
  FunctionError,
  InvocationRecord,
  LogLine,
  OpenInvocation,
  SpanEvent,
  SpanLink,
  Outcome,
} from '../invocations/invocation.ts';
import { IsolationReceipt } from '../functions/isolation.ts';
import { Manifest } from '../functions/manifest.ts';
import { Name } from '../functions/names.ts';
import { Digest, FunctionRecord, VersionRecord } from '../functions/records.ts';
import { ShownSettings } from '../functions/settings.ts';

/** `admin` manages keys and namespaces everywhere; the others apply within the key's namespace. */
export const Scope = z.enum(['admin', 'deploy', 'read', 'invoke']);
export type Scope = z.infer<typeof Scope>;

/** A version as the API shows it. */
export const VersionView = VersionRecord.extend({ settings: ShownSettings });
export type VersionView = z.infer<typeof VersionView>;

/** A function with its active version, for `list` and `describe`. */
export const FunctionView = FunctionRecord.strip().extend({
  url: z.string(),
  active: VersionView,
});
export type FunctionView = z.infer<typeof FunctionView>;

export const FunctionDetail = FunctionView.extend({
  versions: z.array(VersionView),
  recent: z.array(
    z.object({
      id: z.string(),
      outcome: Outcome,
      status: z.number(),
      startedAt: z.number(),
      duration: z.number(),
    }),
  ),
});
export type FunctionDetail = z.infer<typeof FunctionDetail>;

export const DeployRequest = z.object({
  digest: Digest,
  /** File in the archive that is loaded, such as `index.mjs`. */
  entryFile: z.string().min(1).max(256),
  manifest: Manifest,
});
export type DeployRequest = z.infer<typeof DeployRequest>;

/** Answer to a deploy: the new version has been loaded by a worker, and calls now go to it. */
export const DeployResult = z.object({
  function: FunctionView,
  /** Milliseconds that making a sandbox and loading the function took in the check. */
  load: z.object({ acquire: z.number(), init: z.number() }),
});
export type DeployResult = z.infer<typeof DeployResult>;

/** `details` of the error `load_failed`. */
export const LoadFailure = z.object({
  outcome: Outcome,
  error: FunctionError.optional(),
  logs: z.array(LogLine),
});
export type LoadFailure = z.infer<typeof LoadFailure>;

export const InvocationDetail = InvocationRecord.extend({
  logs: z.array(LogLine),
  /** The isolation of its sandbox. */
  isolation: IsolationReceipt.optional(),
  spans: z.array(
    z.object({
      name: z.string(),
      spanId: z.string(),
      parentSpanId: z.string().optional(),
      start: z.number(),
      duration: z.number(),
      attributes: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
      /** Id of the span of the try before this one. */
      link: z.string().optional(),
      /** Events that the function reported within a span of its own; `start` as for spans. */
      events: z.array(SpanEvent.omit({ time: true }).extend({ start: z.number() })).optional(),
      links: z.array(SpanLink).optional(),
    }),
  ),
});
export type InvocationDetail = z.infer<typeof InvocationDetail>;

export const OpenInvocationDetail = OpenInvocation.extend({ logs: z.array(LogLine) });
export type OpenInvocationDetail = z.infer<typeof OpenInvocationDetail>;

/** Answer of `GET /invocations/{id}`, from the creation of an invocation on. */
export const AnyInvocationDetail = z.discriminatedUnion('state', [InvocationDetail, OpenInvocationDetail]);
export type AnyInvocationDetail = z.infer<typeof AnyInvocationDetail>;

/** Answer for a queued invocation: it is in Redis, and will be tried. */
export const Accepted = z.object({
  id: z.string(),
  state: z.enum(['queued', 'running', 'done']),
  /** Path of the invocation in the API. */
  url: z.string(),
});
export type Accepted = z.infer<typeof Accepted>;

/** Changes in the replay of an invocation. */
export const ReplayRequest = z.object({
  /** Version of the function. Default: the active one. */
  version: z.int().min(1).optional(),
  /** Another event, as JSON. */
  input: z.unknown().optional(),
});
export type ReplayRequest = z.infer<typeof ReplayRequest>;

export const InvocationList = z.object({ invocations: z.array(AnyInvocation) });
export type InvocationList = z.infer<typeof InvocationList>;

export const ScheduleView = z.object({
  namespace: z.string(),
  name: z.string(),
  cron: z.string(),
  timezone: z.string(),
  overlap: z.boolean(),
  missed: z.enum(['run', 'skip']),
  /** Unix times in milliseconds. */
  next: z.array(z.number()),
});
export type ScheduleView = z.infer<typeof ScheduleView>;
export const Schedules = z.object({ schedules: z.array(ScheduleView) });

export const DeadLetters = z.object({ deadLetters: z.array(InvocationRecord) });
export type DeadLetters = z.infer<typeof DeadLetters>;

/** Choice of dead letters: the named ones, or all of a function, or all of the namespace. */
export const DeadLetterChoice = z.object({
  ids: z.array(z.string()).max(1_000).optional(),
  name: Name.optional(),
  /** Unix time in milliseconds: only dead letters that had ended by then. */
  until: z.number().optional(),
});
export const DeadLettersMoved = z.object({
  ids: z.array(z.string()),
  /**
   * Set if there are more: the `until` of the next request. With it, the next one moves no invocation that has failed again
   * since.
   */
  until: z.number().optional(),
});
export type DeadLettersMoved = z.infer<typeof DeadLettersMoved>;

/** One line of `GET …/logs`, sent as server-sent events when followed. */
export const FunctionLogLine = LogLine.extend({
  /** Absent for lines that are `unclaimed`. */
  invocation: z.string().optional(),
});
export type FunctionLogLine = z.infer<typeof FunctionLogLine>;

export const FunctionLog = z.object({
  /** Oldest first. */
  logs: z.array(FunctionLogLine),
  /** Number of older lines that are left out, because the bytes of an answer are bounded. */
  olderLines: z.number().optional(),
});
export type FunctionLog = z.infer<typeof FunctionLog>;

export const ApiKeyRecord = z.object({
  id: z.string(),
  /** `*` for a key that is valid in all namespaces. */
  namespace: z.string(),
  scopes: z.array(Scope),
  /** Last four characters, so that a person recognises a key in a list. */
  last4: z.string(),
  createdAt: z.number(),
});
export type ApiKeyRecord = z.infer<typeof ApiKeyRecord>;

export const CreateKeyRequest = z.object({
  namespace: z.union([Name, z.literal('*')]),
  scopes: z.array(Scope).min(1),
});
/** The only answer that contains the key itself. */
export const CreatedKey = ApiKeyRecord.extend({ key: z.string() });

/**
 * A group of sandboxes of one worker: of one version of a function, or prepared ones of a namespace, which have no function
 * yet.
 */
export const PoolStatus = z.object({
  namespace: z.string(),
  runtime: z.string(),
  name: z.string().optional(),
  version: z.number().optional(),
  prepared: z.number(),
  idle: z.number(),
  busy: z.number(),
  /**
   * For a function, since the worker's start: milliseconds of processor time outside of invocations, and sandboxes ended for
   * it. `startCpu` counts until the modules were loaded, `idleCpu` while no invocation ran.
   */
  startCpu: z.number().optional(),
  idleCpu: z.number().optional(),
  endedIdle: z.number().optional(),
  /** Sandboxes that ended by themselves between two invocations. */
  diedIdle: z.number().optional(),
});
export type PoolStatus = z.infer<typeof PoolStatus>;

export const WorkerStatus = z.object({
  id: z.string(),
  startedAt: z.number(),
  /** Sandboxes by state, of all functions together. */
  prepared: z.number(),
  idle: z.number(),
  busy: z.number(),
  /** Invocations taken and not yet answered. */
  running: z.number(),
  capacity: z.number(),
  /**
   * Invocations of the queued lane that ended per second lately, by namespace; only of namespaces for which the reader's key is
   * valid.
   */
  queuedEnded: z.record(z.string(), z.number()).optional(),
  /** The largest MAX_POOLS_SHOWN pools, of the namespaces for which the reader's key is valid. */
  pools: z.array(PoolStatus).optional(),
});
export type WorkerStatus = z.infer<typeof WorkerStatus>;

export const Health = z.object({
  status: z.enum(['ok', 'degraded']),
  redis: z.boolean(),
  workers: z.number(),
});

/** Identity of the caller's key, for `offshoot login`. */
export const WhoAmI = z.object({ namespace: z.string(), scopes: z.array(Scope), version: z.string() });
