/**
 * Logs output that no running invocation can claim: from an invocation that has ended, or from an unknown one. Such lines are
 * marked, so that they are neither lost nor mistaken for an invocation's own.
 */
import { StringDecoder } from 'node:string_decoder';
import { ChannelKind } from '#contract/wire/channel.ts';
import type { LogOrigin } from '#contract/invocations/invocation.ts';
import { readLogFrame, refusedLine, type InvocationLog, type LogText } from './invocation-log.ts';
import { LogAllowance } from './log-allowance.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { InvocationSink } from '../sandbox/sinks.ts';

type Log = Pick<InvocationLog, 'full' | 'add' | 'discard'>;

/** Receives a sandbox's late output for `log`, which is only created at the first output. */
export class LateSink implements InvocationSink {
  readonly #log: () => Log;
  readonly #origin: LogOrigin;
  readonly #sandbox: Pick<Sandbox, 'flow'>;
  readonly #decoders: { stdout?: StringDecoder; stderr?: StringDecoder } = {};

  constructor(log: () => Log, origin: LogOrigin, sandbox: Pick<Sandbox, 'flow'>) {
    this.#log = log;
    this.#origin = origin;
    this.#sandbox = sandbox;
  }

  begun(): void {}

  withdrawn(): void {}

  frame(kind: number, payload: Buffer): void {
    // A second answer has no receiver.
    if (kind !== ChannelKind.LOG) return this.#sandbox.flow.discarded(payload.length);
    this.#keep(payload, true, () => readLogFrame(payload));
  }

  output(level: 'stdout' | 'stderr', bytes: Buffer): void {
    this.#keep(bytes, false, () => {
      const decoder = (this.#decoders[level] ??= new StringDecoder('utf8'));
      return { time: Date.now(), level, text: decoder.write(bytes) };
    });
  }

  refused(call: string): void {
    if (!this.#log().full) this.#add({ time: Date.now(), level: 'platform', text: refusedLine(call) });
  }

  #keep(bytes: Buffer, isFrame: boolean, read: () => LogText | undefined): void {
    const log = this.#log();
    if (log.full) {
      log.discard(bytes, isFrame);
      return this.#sandbox.flow.discarded(bytes.length);
    }
    const text = read();
    if (text) this.#add(text);
  }

  #add(text: LogText): void {
    this.#log().add({ ...text, origin: this.#origin });
  }
}

/**
 * Period in which a function's own log may keep as much as one invocation's: a timer can print for as long as its sandbox lives.
 */
const PERIOD_MS = 60_000;

/** The log of a function's own in one worker: output that no invocation can claim, and the platform's notes on its sandboxes. */
export class FunctionLog {
  readonly #open: (sandbox: string, allowance: LogAllowance) => InvocationLog;
  readonly #maxBytes: number;
  readonly #logs = new Map<string, InvocationLog>();
  #allowance = new LogAllowance();
  #renewAt = 0;

  /** `open` makes the log of one sandbox; `maxBytes` bounds the kept bytes of all of them in a period. */
  constructor(open: (sandbox: string, allowance: LogAllowance) => InvocationLog, maxBytes: number) {
    this.#open = open;
    this.#maxBytes = maxBytes;
  }

  /** Receives the sandbox's unclaimed output from now until its end. */
  claim(sandbox: Sandbox): void {
    sandbox.onUnclaimed = new LateSink(() => this.#of(sandbox.id), 'unclaimed', sandbox);
    sandbox.whenEnded(() => this.#end(sandbox.id));
  }

  /** Adds a line of the platform about one of the function's sandboxes. */
  tell(sandbox: Sandbox, text: string): void {
    this.#of(sandbox.id).add({ time: Date.now(), level: 'platform', text, origin: 'unclaimed' });
    if (sandbox.exit) this.#end(sandbox.id);
  }

  #of(sandbox: string): InvocationLog {
    const now = performance.now();
    if (now >= this.#renewAt) {
      for (const id of this.#logs.keys()) this.#end(id);
      this.#renewAt = now + PERIOD_MS;
      this.#allowance = new LogAllowance();
      this.#allowance.maxBytes = this.#maxBytes;
    }
    let log = this.#logs.get(sandbox);
    if (!log) this.#logs.set(sandbox, (log = this.#open(sandbox, this.#allowance)));
    return log;
  }

  #end(sandbox: string): void {
    this.#logs.get(sandbox)?.flush(true);
    this.#logs.delete(sandbox);
  }
}
