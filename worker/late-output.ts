/**
 * Output that is not what a running invocation prints: of one that has ended, or of nobody knows which. It is marked, so that
 * nobody takes it for something else, and is not lost.
 */
import { StringDecoder } from 'node:string_decoder';
import { ChannelKind } from '#contract/channel.ts';
import type { LogOrigin } from '#contract/invocation.ts';
import { readLogFrame, refusedLine, type InvocationLog, type LogText } from './invocation-log.ts';
import { LogAllowance } from './log-allowance.ts';
import type { InvocationSink, Sandbox } from './sandbox/sandbox.ts';

type Log = Pick<InvocationLog, 'full' | 'add' | 'discard'>;

/** Gets what comes out of a sandbox for `log`, which is asked for when there is something. */
export class LateSink implements InvocationSink {
  readonly #log: () => Log;
  readonly #origin: LogOrigin;
  readonly #sandbox: Pick<Sandbox, 'discarded'>;
  readonly #decoders: { stdout?: StringDecoder; stderr?: StringDecoder } = {};

  constructor(log: () => Log, origin: LogOrigin, sandbox: Pick<Sandbox, 'discarded'>) {
    this.#log = log;
    this.#origin = origin;
    this.#sandbox = sandbox;
  }

  begun(): void {}

  withdrawn(): void {}

  frame(kind: number, payload: Buffer): void {
    // A second answer is nobody's.
    if (kind !== ChannelKind.LOG) return this.#sandbox.discarded(payload.length);
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
      return this.#sandbox.discarded(bytes.length);
    }
    const text = read();
    if (text) this.#add(text);
  }

  #add(text: LogText): void {
    this.#log().add({ ...text, origin: this.#origin });
  }
}

/** What a function may leave in its own log in this time is what one invocation may: a timer prints for as long as it is there. */
const PERIOD_MS = 60_000;

/** The log of a function's own in one worker: what no invocation can claim, and what the platform has to say of its sandboxes. */
export class FunctionLog {
  readonly #open: (sandbox: string, allowance: LogAllowance) => InvocationLog;
  readonly #maxBytes: number;
  readonly #logs = new Map<string, InvocationLog>();
  #allowance = new LogAllowance();
  #renewAt = 0;

  /** `open` makes the log of one of its sandboxes; `maxBytes` are kept of all of them in a period. */
  constructor(open: (sandbox: string, allowance: LogAllowance) => InvocationLog, maxBytes: number) {
    this.#open = open;
    this.#maxBytes = maxBytes;
  }

  /** From now on, until the end of the sandbox. */
  claim(sandbox: Sandbox): void {
    sandbox.onUnclaimed = new LateSink(() => this.#of(sandbox.id), 'unclaimed', sandbox);
    sandbox.whenEnded(() => this.#end(sandbox.id));
  }

  /** The platform's word on one of its sandboxes. */
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
