/** Executes one invocation in this worker, from the moment it was taken until it has been answered. */
import { clockOrigin } from '#contract/wire/host-clock.ts';
import type {
  Canceller,
  FunctionError,
  FunctionSpan,
  RunReport,
  Usage,
} from '#contract/invocations/invocation.ts';
import { encodeLaneFrame, LaneKind, type CallHeader } from '#contract/platform/lane.ts';
import type { DeniedEgress } from '#contract/functions/network.ts';
import { isFailure, OUTCOMES, type Outcome } from '#contract/invocations/outcome.ts';
import { encodePayload } from '#contract/wire/payload.ts';
import { kindOf } from '#contract/functions/runtimes.ts';
import type { BlobStore } from '#storage/artifacts/blobs.ts';
import type { LateCall } from '#telemetry/spans.ts';
import type { CpuClock } from './cpu-clock.ts';
import { readError } from './failure.ts';
import { blameMemory, blamePids } from '../sandbox/zygote/exit-cause.ts';
import type { TakenSpans } from './function-spans.ts';
import type { LoadedVersion, VersionCache } from '../code/version-cache.ts';
import { InvocationLog, type LogSink } from './invocation-log.ts';
import type { LogAllowance } from './log-allowance.ts';
import { log } from '../process/log.ts';
import type { Lease } from '../pool/function-pool.ts';
import type { Pool } from '../pool/pool.ts';
import { LoadFailedError } from '../pool/start-function.ts';
import type { Receipts } from '../pool/receipts.ts';
import { refusedNetworkLine } from './refused-network.ts';
import { Run } from './run.ts';
import { describeExit } from '../sandbox/zygote/zygote.ts';
import type { Redis } from 'ioredis';
import type { LogBudget } from '#storage/limits/log-budget.ts';

export interface ExecuteDeps {
  readonly workerId: string;
  readonly versions: Pick<VersionCache, 'get'>;
  readonly pool: Pool;
  readonly cpuClock: CpuClock;
  readonly receipts: Receipts;
  readonly blobs: BlobStore;
  /** Connection of the replies; logs use it too, so that they arrive ahead of their reply. */
  readonly redis: Redis;
  /** Receives the functions' output too, where log export is configured. */
  readonly logSink?: LogSink | undefined;
  /** Bounds the kept logs of each function. */
  readonly logBudget?: LogBudget | undefined;
  /** Called with the number of log lines that Redis did not take. */
  readonly onLogLost?: ((lines: number) => void) | undefined;
  /** Set when several executions share one bound on their kept output. */
  readonly logAllowance?: LogAllowance;
  /** Receives the function's own spans that began after the answer. */
  readonly onLateSpans: (call: LateCall, spans: readonly FunctionSpan[]) => void;
  /** Pushes a frame to the gateway whose caller waits. */
  readonly reply: (gateway: string, frame: Buffer) => void;
}

/** Upper bound on sandboxes that may end before they read an invocation, as they say, without a failure of that. */
const MAX_UNREAD = 3;
const KB = 1024;
const MB = 1024 * KB;

/** Facts for the report, beside the outcome. */
interface EndFacts {
  readonly cancelledBy?: Canceller | undefined;
  readonly error?: FunctionError | undefined;
  readonly exitCause?: string | undefined;
  readonly usage?: Usage;
  readonly pidsRefused?: number;
  readonly denied?: readonly DeniedEgress[] | undefined;
  readonly refusedCalls?: readonly string[];
  readonly handlers?: RunReport['handlers'];
}

const LOADED = encodePayload({ status: 204, headers: [] }, new Uint8Array(0));

export class Execution {
  readonly #deps: ExecuteDeps;
  readonly #call: CallHeader;
  readonly #log: InvocationLog;
  readonly #takenAt = performance.now();
  #acquiredAt = 0;
  /** Number of sandboxes that ended before they read the invocation. */
  #unread = 0;
  #lease: Lease | undefined;
  #run: Run | undefined;
  /** Set once a cancel was asked for; `by` is absent if the result is discarded. */
  #cancel: { readonly by: Canceller | undefined } | undefined;

  constructor(call: CallHeader, deps: ExecuteDeps) {
    this.#call = call;
    this.#deps = deps;
    this.#log = new InvocationLog(deps.redis, call, {
      sink: deps.logSink,
      allowance: deps.logAllowance,
      budget: deps.logBudget,
      onLost: deps.onLogLost,
    });
  }

  /**
   * Executes the invocation. Never rejects: whatever happens, the gateway gets an answer, and the sandbox is released or ended.
   */
  async execute(payload: Buffer): Promise<void> {
    const { namespace, name, version: number, operation } = this.#call;
    try {
      const version = await this.#deps.versions.get(namespace, name, number);
      if (!version) return this.#fail('function_removed');

      this.#log.maxBytes = version.settings.logSize * KB;
      const lease = await this.#acquire(version);
      if (this.#cancel) return this.#fail('cancelled', { cancelledBy: this.#cancel.by });
      if (operation === 'load') {
        return this.#answer(LaneKind.RESULT, 'ok', { handlers: lease.sandbox.handlers }, LOADED);
      }

      // A child process of an earlier invocation may have been killed for memory since the last look.
      if (lease.sandbox.endIfOutOfMemory()) return await this.#again(payload);
      const run = this.#start(lease, version, payload);
      let end = await run.ended;
      if (end.unread && this.#unread++ < MAX_UNREAD) return await this.#again(payload);
      if (end.withdrawn) {
        // The invocation lay behind a slow one and has not run; now it goes first.
        return await this.#again(payload);
      }
      const usage = { cpu: run.cpuMs(), memoryPeak: lease.sandbox.usage.memoryPeak() };
      if (lease.sandbox.endIfOutOfMemory()) {
        const exitCause = describeExit(await lease.sandbox.ended);
        // The function's own error stays in the report, because it may say more.
        end = { ...end, outcome: 'out_of_memory', exitCause };
      }
      if (!lease.sandbox.exit) await lease.sandbox.drainOutput();
      const denied = await this.#denied(lease, run);
      const refused = refusedNetworkLine(lease.sandbox, denied, lease.sandbox.network !== undefined);
      if (refused) this.#log.add(refused);
      const kind = end.streamed ? LaneKind.END : isFailure(end.outcome) ? LaneKind.FAILED : LaneKind.RESULT;
      const pidsRefused = lease.sandbox.usage.takePidsRefused();
      const runtime = kindOf(version.settings.runtime);
      const failed = end.error && `${end.error.name} ${end.error.message}`;
      const limited = blamePids(end.outcome, pidsRefused, failed, runtime);
      const outcome = blameMemory(limited, end.error?.stack, runtime);
      this.#answer(kind, outcome, { ...end, usage, pidsRefused, denied }, end.payload);
      const isKept = OUTCOMES[outcome].sandbox === 'kept' || (end.byItself && outcome === end.outcome);
      if (run.begunAt !== undefined && !isKept) lease.sandbox.retire();
      await run.settled;
      this.#log.flush(true);
      this.#tellLate(run.spans?.take().spans ?? [], isFailure(outcome));
    } catch (error) {
      this.#failToStart(error);
    } finally {
      this.#leave();
    }
  }

  /** Lists the destinations that were out of reach: as the firewall saw them or, without a network, as the runtime did. */
  async #denied(lease: Lease, run: Run): Promise<readonly DeniedEgress[]> {
    const { network } = lease.sandbox;
    if (!network) return run.unreached?.list() ?? [];
    try {
      return await network.denied();
    } catch (error) {
      log.warn({ error, call: this.#call }, 'the refusals of the network could not be read');
      return [];
    }
  }

  async #acquire(version: LoadedVersion): Promise<Lease> {
    const lease = await this.#deps.pool.acquire(version, this.#takenAt);
    this.#lease = lease;
    this.#acquiredAt = performance.now();
    for (const text of lease.member.loadOutput.splice(0)) this.#log.add(text);
    if (lease.firstUse) this.#deps.receipts.store(lease.sandbox, version);
    return lease;
  }

  #start(lease: Lease, version: LoadedVersion, payload: Buffer): Run {
    const target = {
      // With the figures until now, for the Server-Timing of a streamed response.
      head: (head: Buffer) => this.#send(LaneKind.HEAD, this.#report('ok', {}), head),
      chunk: (bytes: Buffer) => this.#send(LaneKind.CHUNK, undefined, bytes),
    };
    const { timeout, responseSize, cpuTime, cpu, streamIdleTimeout } = version.settings;
    const limits = {
      timeoutMs: timeout * 1000,
      responseBytes: responseSize * MB,
      // Versions deployed before this setting existed have none.
      streamIdleMs: streamIdleTimeout * 1000,
      ...(cpuTime !== undefined && { cpu: { limitMs: cpuTime * 1000, cores: cpu } }),
    };
    const { cpuClock, blobs } = this.#deps;
    const { input } = this.#call;
    const body = input && { bytes: input.bytes, open: () => blobs.open(input.key) };
    const run = new Run({ lease, call: this.#call, limits, cpuClock, body, log: this.#log, target });
    this.#run = run;
    run.start(payload);
    return run;
  }

  /** Stores spans that work left to waitUntil() has begun; no report contains them. */
  #tellLate(spans: readonly FunctionSpan[], failed: boolean): void {
    if (spans.length === 0) return;
    const { id, traceparent, tracestate } = this.#call;
    this.#deps.onLateSpans({ id, traceparent, tracestate, failed }, spans);
  }

  /** Executes the invocation again, because its sandbox has not run it. */
  async #again(payload: Buffer): Promise<void> {
    this.#leave();
    await this.execute(payload);
  }

  #leave(): void {
    this.#lease?.release();
    this.#lease = undefined;
    this.#run = undefined;
  }

  /** Ends the invocation. Without `by`, its result is discarded. */
  cancel(by?: Canceller): void {
    this.#cancel ??= { by };
    this.#run?.cancel(by);
  }

  credit(bytes: number): void {
    this.#run?.credit(bytes);
  }

  #failToStart(error: unknown): void {
    if (!(error instanceof LoadFailedError)) {
      log.error({ error, call: this.#call }, 'an invocation failed in the worker');
      return this.#fail('platform_error', { error: readError(error) });
    }
    for (const text of error.loadOutput) this.#log.add(text);
    if (OUTCOMES[error.reason].fault === 'system')
      log.error({ error, call: this.#call }, 'a sandbox could not be started');
    const thrown = error.thrown ? parseError(error.thrown) : { name: 'Error', message: error.message };
    if (error.thrown) {
      this.#log.add({
        time: Date.now(),
        level: 'error',
        text: thrown.stack ?? `${thrown.name}: ${thrown.message}`,
      });
    }
    this.#fail(error.reason, { error: thrown, exitCause: error.exit && describeExit(error.exit) });
  }

  #fail(outcome: Outcome, facts: EndFacts = {}): void {
    this.#answer(LaneKind.FAILED, outcome, facts);
  }

  #answer(kind: LaneKind, outcome: Outcome, facts: EndFacts, payload?: Buffer): void {
    this.#log.flush(true);
    this.#send(kind, this.#report(outcome, facts, this.#run?.spans?.take()), payload);
  }

  /** Makes the report. `taken`: the function's own spans, when this is the last report of the run. */
  #report(outcome: Outcome, facts: EndFacts, taken?: TakenSpans): RunReport {
    const now = performance.now();
    const acquired = this.#run?.begunAt ?? (this.#acquiredAt || now);
    // The sandbox may have been started for another call, and have loaded its module before this call came.
    const init = Math.min(this.#lease?.initMs ?? 0, acquired - this.#takenAt);
    return {
      outcome,
      ...(facts.cancelledBy && { cancelledBy: facts.cancelledBy }),
      worker: this.#deps.workerId,
      timings: {
        acquire: acquired - this.#takenAt - init,
        init,
        run: now - acquired,
        total: now - this.#takenAt,
      },
      ...(this.#run?.begunAt !== undefined && { ranAt: clockOrigin() + this.#run.begunAt }),
      logBytes: this.#log.bytes,
      logBytesDropped: this.#log.dropped,
      ...(this.#log.droppedLines > 0 && { logLinesDropped: this.#log.droppedLines }),
      ...(taken?.spans.length && { spans: taken.spans }),
      ...(taken?.dropped && { spansDropped: taken.dropped }),
      ...(facts.error && { error: facts.error }),
      ...(facts.exitCause !== undefined && { exitCause: facts.exitCause }),
      ...(facts.usage && { usage: facts.usage }),
      ...(facts.pidsRefused && { pidsRefused: facts.pidsRefused }),
      ...(facts.denied?.length && { denied: [...facts.denied] }),
      ...(facts.refusedCalls && { refusedCalls: [...facts.refusedCalls] }),
      ...(facts.handlers && { handlers: [...facts.handlers] }),
      ...(this.#lease && { sandbox: this.#lease.sandbox.id, acquired: this.#lease.kind }),
      ...(this.#lease?.coldReason && { coldReason: this.#lease.coldReason }),
    };
  }

  #send(kind: LaneKind, report: RunReport | undefined, payload?: Buffer): void {
    const header = { id: this.#call.id, worker: this.#deps.workerId, ...(report && { report }) };
    this.#deps.reply(this.#call.gateway, encodeLaneFrame(kind, header, ...(payload ? [payload] : [])));
  }
}

function parseError(json: Buffer): FunctionError {
  try {
    return readError(JSON.parse(json.toString('utf8')));
  } catch {
    return readError(undefined);
  }
}
