/**
 * Represents one sandbox, from the fork to its end: it hands over invocations, routes frames and output to them, and counts
 * resources. Its states:
 *
 *   starting → prepared → loading → ready → ended
 *
 * All data from a sandbox is hostile: frames are capped before they are kept, JSON is small and checked, and an invalid frame
 * ends the sandbox.
 */
import { closeSync } from 'node:fs';
import {
  ChannelKind,
  encodeChannelFrame,
  OTHERS_NATIVE,
  OTHERS_RUN,
  putInvoke,
  readOthers,
  readSignalled,
  type InvokeContext,
  type SandboxInit,
} from '#contract/wire/channel.ts';
import type { Cgroup } from '../cgroup/driver.ts';
import type { SandboxNetwork } from '../network/egress.ts';
import { SandboxChannel } from './channel.ts';
import { readHandlers } from './handlers.ts';
import { readIsolation, readPreparation, type IsolationFacts } from './isolation-facts.ts';
import { native, type TurnsPage } from '../native/addon.ts';
import { OutputPipes } from './output-pipes.ts';
import type { KillReason, SandboxEnd } from './end-reason.ts';
import { DEFAULT_FILE_LIMITS, SandboxStartError, specialiseFrame } from './specialise.ts';
import { CallQueue } from './call-queue.ts';
import { whyEnded } from './exit-cause.ts';
import { IdleMeter } from './idle-cpu.ts';
import { describeExit, signalName, type Exit, type Zygote } from './zygote.ts';

/** Receiver of one invocation's frames, output and events. */
export interface InvocationSink {
  /** The invocation's code starts to run. */
  begun(): void;
  /** The invocation has not started here and never will: the sandbox was busy for too long, or has ended. */
  withdrawn(): void;
  frame(kind: number, payload: Buffer): void;
  /** Bytes that were written to descriptors 1 and 2 past the runtime. */
  output(stream: 'stdout' | 'stderr', bytes: Buffer): void;
  /** A system call that was refused, such as `socket(AF_VSOCK)`. */
  refused?(call: string): void;
  /** Output was printed during the invocation that may belong to another one. */
  unclaimed?(): void;
  /** Returns the sink for frames that name the invocation after release(). */
  afterwards?(): InvocationSink;
}

export interface SandboxParts {
  readonly id: string;
  readonly slot: number;
  readonly scratchMb: number;
  readonly cgroup: Cgroup;
  readonly zygote: Zygote;
}

/** Resources that all processes of a sandbox have used since it was made. */
export interface SandboxUsage {
  readonly cpuMs: number;
  readonly memoryPeak: number;
  /** Processes that the kernel killed for memory. */
  readonly oomKills: number;
  /** Processes and threads that the kernel refused to create. */
  readonly pidsRefused: number;
}

/** Upper bound on ended invocations whose late output is still attributed to them; output of older ones is unclaimed. */
const MAX_LATE = 16;

/**
 * Share of its memory limit that a sandbox must have reached before an OOM kill is looked for. Its peak is near the whole limit,
 * less the pages in swap. When the host is short of memory, the share may be smaller; the pool's periodic check covers that.
 */
const NEAR_LIMIT = 0.5;

export class Sandbox {
  readonly id: string;
  readonly slot: number;
  readonly cgroup: Cgroup;
  /** Settles when C has prepared the sandbox, with the microseconds of each phase; rejects when it ended instead. */
  readonly prepared: Promise<number[]>;
  /** Settles with the exit, after the sandbox's processes are gone and its last frames have been read. */
  readonly ended: Promise<Exit>;
  readonly #told = new Set<() => void>();
  exit: Exit | undefined;
  /** Set once the sandbox is isolated. */
  isolation: IsolationFacts | undefined;
  /** True when the sandbox takes no further invocation and ends after those that it has. */
  spent = false;
  readonly #zygote: Zygote;
  readonly #channel: SandboxChannel;
  /** Handlers of its function, once that is loaded. */
  handlers: ReturnType<typeof readHandlers>;
  /** Set while its function has egress. */
  network: SandboxNetwork | undefined;
  readonly #outputs: OutputPipes;
  readonly #endWatch: () => void;
  readonly #sinks = new Map<number, InvocationSink>();
  readonly #turns: CallQueue;
  readonly #turnsPage: TurnsPage;
  #finalUsage: SandboxUsage | undefined;
  /** Peak memory when it was read last. */
  #peak = 0;
  readonly #idle = new IdleMeter();
  #pidsRefusedTold = 0;
  #killedFor: KillReason | undefined;
  /** Name of a signal that the sandbox sent to itself; the kernel keeps such signals from a PID 1. */
  #ownSignal: string | undefined;
  #nextHandle = 1;
  /** Number of invocations that have begun. */
  #begun = 0;
  /** OTHERS_ bits that hold for the output read now, and the bits that the sandbox sent last. */
  #others = 0;
  #othersTold = 0;
  /** Sinks of the invocations that were released last, by handle. */
  readonly #late = new Map<number, InvocationSink>();
  /** Handle of an invocation that has settled while its output waits to be read. */
  #settling: number | undefined;

  constructor(parts: SandboxParts) {
    this.id = parts.id;
    this.slot = parts.slot;
    this.cgroup = parts.cgroup;
    this.#zygote = parts.zygote;
    const [channel, theirChannel] = native.socketpair();
    // Refuse descriptors on the channel: the reader of such a message has to close them, and closing a socket may take an hour.
    // Older kernels lack this switch; their sandboxes cannot make a socket that lingers (worker/native/sandbox/sandbox.c).
    native.refuseDescriptors(channel);
    const [refusals, theirRefusals] = native.socketpair();
    this.#endWatch = native.watchRefusals(refusals, (call) => this.#sinkOf(this.#hasOlder)?.refused?.(call));
    this.#outputs = new OutputPipes((stream, bytes) => {
      const isOlder = this.#hasOlder || this.#hasOlderNative;
      const sink = this.#sinkOf(isOlder);
      if (sink === this.onUnclaimed) for (const running of this.#sinks.values()) running.unclaimed?.();
      if (sink) sink.output(stream, bytes);
      else this.discarded(bytes.length);
    });
    this.#channel = new SandboxChannel({
      fd: channel,
      outputs: this.#outputs.sockets,
      receive: (kind, handle, payload) => this.#receive(kind, handle, payload),
      broken: () => this.kill('misbehaved'),
    });
    this.prepared = this.#channel.expect(ChannelKind.PREPARED).then(readPreparation);
    this.prepared.catch(() => undefined);
    let onEnded: (exit: Exit) => void;
    this.ended = new Promise((resolve) => {
      onEnded = resolve;
    });
    void this.ended.then(() => {
      for (const told of this.#told) told();
      this.#told.clear();
    });
    const [theirTurns, turns] = native.makeTurns();
    this.#turnsPage = turns;
    this.#turns = new CallQueue({
      post: () => native.postTurn(turns),
      takeBack: (max) => native.takeTurnsBack(turns, max),
    });
    const theirs = [theirChannel, ...this.#outputs.theirs, theirTurns, theirRefusals];
    // In the order of contract/wire/control.ts.
    const given = [...theirs, ...parts.cgroup.joinFds];
    try {
      parts.zygote.fork(parts.slot, parts.scratchMb, given, (exit) => {
        this.#end(exit, onEnded);
      });
    } finally {
      for (const fd of theirs) closeSync(fd);
      parts.cgroup.closeJoinFds();
    }
  }

  /** May an invocation still be handed to this sandbox? */
  get usable(): boolean {
    return !this.exit && !this.spent;
  }

  get zygote(): Zygote {
    return this.#zygote;
  }

  /**
   * Gives the prepared sandbox its function. `isolated` settles when the sandbox is isolated, `ready` when the function is
   * loaded. `approve` checks the isolation before the function is named; `isolated` rejects with an error that it throws.
   */
  specialise(
    code: string,
    hostname: string,
    init: SandboxInit,
    limits = DEFAULT_FILE_LIMITS,
    network?: SandboxNetwork,
    approve?: (facts: IsolationFacts) => void,
  ): { isolated: Promise<number[]>; ready: Promise<void> } {
    const told = encodeChannelFrame(ChannelKind.INIT, 0, Buffer.from(JSON.stringify(init)));
    const isolated = this.#channel.expect(ChannelKind.ISOLATED).then((payload) => {
      const { phases, facts } = readIsolation(payload);
      this.isolation = facts;
      if (approve) {
        approve(this.isolation);
        this.#channel.write(told);
      }
      return phases;
    });
    const ready = this.#channel.expect(ChannelKind.READY).then((payload) => {
      this.handlers = readHandlers(payload);
    });
    isolated.catch(() => undefined);
    ready.catch(() => undefined);
    const order = specialiseFrame(code, hostname, limits);
    // With `approve`, INIT follows only after the check.
    const atOnce = approve ? [] : [told];
    if (network) {
      this.network = network;
      void this.ended.then(() => network.release());
      try {
        this.#channel.writeWithDescriptor(order, network.namespace);
      } finally {
        network.joined();
      }
      for (const frame of atOnce) this.#channel.write(frame);
    } else {
      // In one write: the second part waits in the socket until JavaScript runs.
      this.#channel.write(Buffer.concat([order, ...atOnce]));
    }
    return { isolated, ready };
  }

  /**
   * Calls `told` once when the sandbox has ended, unless the returned function is called before. A then() on `ended` would be
   * held as long as the sandbox lives, once for each of many thousands of runs.
   */
  whenEnded(told: () => void): () => void {
    if (this.exit) {
      queueMicrotask(told);
      return () => undefined;
    }
    this.#told.add(told);
    return () => this.#told.delete(told);
  }

  /**
   * Hands over an invocation and returns its handle. From its begin until release(), its frames go to `sink`. `shared`: it runs
   * beside the invocations that run already; otherwise it begins when those before it are released.
   */
  invoke(context: InvokeContext, payload: Buffer, sink: InvocationSink, shared = false): number {
    const handle = this.#nextHandle++;
    const begin = (): void => {
      this.#begun++;
      this.#sinks.set(handle, sink);
      sink.begun();
      this.#idle.begins();
    };
    const turn = { handle, begin, withdrawn: () => sink.withdrawn() };
    const ahead = !shared && this.#turns.add(turn);
    if (shared) begin();
    const told = Buffer.from(JSON.stringify(ahead ? { ...context, ahead } : context));
    const parts = putInvoke({ context: told, request: payload });
    this.#channel.write(encodeChannelFrame(ChannelKind.INVOKE, handle, ...parts));
    return handle;
  }

  /** Sends the next piece of a request body. Resolves when there is room for another one, or the channel has closed. */
  async sendBody(handle: number, piece: Buffer): Promise<void> {
    await this.#channel.writePatiently(ChannelKind.BODY, handle, piece);
  }

  /** Releases an invocation that has settled or was abandoned; the next one begins. */
  release(handle: number): void {
    if (this.exit || !this.#outputs.waiting) return this.#release(handle);
    // Output of the invocation's native code and child processes is unread; the sandbox starts the next invocation only after
    // that.
    this.#settling = handle;
    void this.#outputs.drained().then(() => this.#release(handle));
  }

  #release(handle: number): void {
    if (this.#settling === handle) this.#settling = undefined;
    const late = this.#sinks.get(handle)?.afterwards?.();
    if (late) this.#late.set(handle, late);
    const [oldest = 0] = this.#late.keys();
    if (this.#late.size > MAX_LATE) this.#late.delete(oldest);
    this.#sinks.delete(handle);
    if (this.#sinks.size === 0) this.rest();
    this.#turns.done(handle);
  }

  /** The calls that were handed ahead and have not begun; `open` says whether another may be. */
  get turns(): Pick<CallQueue, 'ahead' | 'open' | 'withdraw' | 'withdrawStuck'> {
    return this.#turns;
  }

  /** Receives frames and output that belong to no invocation, such as logs of the module's load. */
  onUnclaimed: InvocationSink | undefined;

  /** Counts bytes of a stream that are on their way to the caller; reading stops while there are too many. */
  addUncredited(bytes: number): void {
    this.#channel.addUncredited(bytes);
  }

  credit(bytes: number): void {
    this.#channel.credit(bytes);
  }

  /** Counts discarded output bytes; after too many, reading pauses for a moment. */
  discarded(bytes: number): void {
    this.#channel.discarded(bytes);
  }

  /**
   * Time since which frames could have been read, by performance.now(); undefined while reading is paused because readers are
   * behind.
   */
  get readableSince(): number | undefined {
    return this.#channel.readableSince;
  }

  /** Settles when the output that native code has written until now has been handed to the sinks. */
  async drainOutput(): Promise<void> {
    // When no invocation runs, release() has drained the output.
    if (!this.exit && this.#sinks.size > 0) await this.#outputs.drained();
  }

  /** Returns the sandbox's usage now, or at its end. */
  usage(): SandboxUsage {
    const { cgroup } = this;
    return (
      this.#finalUsage ?? {
        cpuMs: cgroup.cpuMs(),
        memoryPeak: cgroup.memoryPeak(),
        oomKills: cgroup.oomKills(),
        pidsRefused: cgroup.pidsRefused(),
      }
    );
  }

  /** Returns the processes and threads refused since the last call. */
  takePidsRefused(): number {
    const refused = this.#finalUsage?.pidsRefused ?? this.cgroup.pidsRefused();
    const fresh = refused - this.#pidsRefusedTold;
    if (fresh > 0) this.#pidsRefusedTold = refused;
    return Math.max(0, fresh);
  }

  /** Reason for the end; undefined while the sandbox lives. */
  get end(): SandboxEnd | undefined {
    if (!this.exit) return undefined;
    return this.#killedFor ?? whyEnded(this.exit, this.usage().oomKills);
  }

  cpuMs(): number {
    const ms = this.#finalUsage?.cpuMs ?? this.cgroup.cpuMs();
    this.#idle.saw(ms);
    return ms;
  }

  /** Marks that no invocation runs: processor time counts as idle until the next one begins. */
  rest(): void {
    this.#idle.rests(() => this.#finalUsage?.cpuMs ?? this.cgroup.cpuMs());
  }

  /** Processor time in milliseconds while no invocation ran, as far as it was measured. */
  get idleCpuMs(): number {
    return this.#idle.ms;
  }

  memoryPeak(): number {
    return this.#finalUsage?.memoryPeak ?? (this.#peak = this.cgroup.memoryPeak());
  }

  /**
   * Ends the sandbox if the kernel killed one of its processes for memory: on cgroup v1 the others go on, as half of a process
   * tree. Returns whether it did. The last known peak is compared with the share `least` first. That spares nearly all sandboxes
   * the read of one more file.
   */
  endIfOutOfMemory(least = NEAR_LIMIT): boolean {
    const { memoryBytes } = this.cgroup.limits;
    if (this.exit || this.#peak < memoryBytes * least || this.cgroup.oomKills() === 0) return false;
    this.kill('out_of_memory');
    return true;
  }

  /**
   * Kills the sandbox in both ways: the cgroup works without an answer of the zygote, the zygote before the sandbox has joined
   * its cgroup. Of several reasons the first counts; without one the sandbox counts as ended by itself.
   */
  kill(reason?: KillReason): void {
    if (this.exit) return;
    this.#killedFor ??= reason;
    // The running invocation may settle before the signal arrives; then the sandbox must not get the next one.
    this.spent = true;
    this.cgroup.kill();
    this.#zygote.kill(this.slot);
  }

  /** Do processes or threads still run that a settled invocation or the module's load has started? */
  get #hasOlder(): boolean {
    return (this.#others & OTHERS_RUN) !== 0;
  }

  /** May native code of an earlier invocation still run in threads that the runtime does not know? */
  get #hasOlderNative(): boolean {
    return (this.#others & OTHERS_NATIVE) !== 0 && this.#begun > 1;
  }

  /**
   * Returns the sink for data that names only the sandbox: the running invocation if it is the only one and nothing older runs,
   * else `onUnclaimed`.
   */
  #sinkOf(hasOlder: boolean): InvocationSink | undefined {
    const [only] = this.#sinks.values();
    return this.#sinks.size === 1 && !hasOlder ? only : this.onUnclaimed;
  }

  #learnOthers(others: number): void {
    this.#othersTold = others;
    this.#others |= others;
    if (this.#others === others) return;
    // Output of processes that have ended may still wait to be read, so keep their bits until it has been.
    if (!this.#outputs.waiting) this.#others = others;
    else void this.#outputs.drained().then(() => (this.#others = this.#othersTold));
  }

  #receive(kind: number, handle: number, payload: Buffer): void {
    if (kind === ChannelKind.SETUP_FAILED || kind === ChannelKind.LOAD_FAILED) {
      const text = kind === ChannelKind.SETUP_FAILED ? payload.toString('utf8') : 'the module failed to load';
      this.#channel.rejectAll(
        new SandboxStartError(text, kind === ChannelKind.LOAD_FAILED ? Buffer.from(payload) : undefined),
      );
      return;
    }
    if (kind === ChannelKind.SIGNALLED) {
      this.#ownSignal = signalName(readSignalled(payload)?.signal ?? 0);
      this.kill();
      return;
    }
    if (kind === ChannelKind.OTHERS) return this.#learnOthers(readOthers(payload)?.others ?? 0);
    // A frame of a later invocation proves that the settling one's output has been read.
    if (this.#settling !== undefined && handle > this.#settling) this.#release(this.#settling);
    const sink = this.#sinks.get(handle) ?? this.#late.get(handle) ?? this.onUnclaimed;
    if (sink) sink.frame(kind, payload);
    else this.discarded(payload.length);
  }

  #end(reaped: Exit, onEnded: (exit: Exit) => void): void {
    const signal = (reaped.signal === 'SIGKILL' && !reaped.zygoteLost && this.#ownSignal) || reaped.signal;
    const exit = { ...reaped, signal };
    // Read before the end is reported, because the cgroup is removed then.
    this.#finalUsage = this.usage();
    this.#idle.saw(this.#finalUsage.cpuMs);
    this.exit = exit;
    this.#channel.ended = true;
    this.#endWatch();
    // The sandbox's last output is still in the sockets. They reach their end of file by themselves, because no process holds the
    // other side any more.
    const sockets = [this.#channel.socket, ...this.#outputs.sockets];
    let open = sockets.length;
    const closed = (): void => {
      if (--open > 0) return;
      this.#channel.rejectAll(new SandboxStartError(`the sandbox ended: ${describeExit(exit)}`));
      this.#turns.end();
      native.closeTurns(this.#turnsPage);
      onEnded(exit);
    };
    for (const socket of sockets) {
      if (socket.closed) closed();
      else socket.once('close', closed).resume();
    }
  }
}
