/**
 * One sandbox, from the fork to its end. Its states:
 *
 *   starting → prepared → loading → ready → ended
 *
 * Everything that comes out of it is hostile: frames are capped before they are kept, JSON is small and checked, and a
 * frame that makes no sense ends the sandbox.
 */
import { closeSync } from 'node:fs';
import {
  ChannelKind,
  encodeChannelFrame,
  ISOLATED_PHASES,
  OTHERS_NATIVE,
  OTHERS_RUN,
  type InvokeContext,
  type SandboxInit,
} from '#contract/channel.ts';
import type { Cgroup } from '../cgroup/driver.ts';
import type { SandboxNetwork } from '../network/egress.ts';
import { SandboxChannel } from './channel.ts';
import { readFacts, readNumbers, type IsolationFacts } from './isolation-facts.ts';
import { native, type TurnsPage } from './native.ts';
import { OutputPipes } from './output-pipes.ts';
import type { KillReason, SandboxEnd } from './end-reason.ts';
import { DEFAULT_FILE_LIMITS, SandboxStartError, specialiseFrame } from './start.ts';
import { Turns } from './turns.ts';
import { whyEnded } from '../exit-cause.ts';
import { IdleMeter } from '../idle-cpu.ts';
import { describeExit, signalName, type Exit, type Zygote } from './zygote.ts';

/** Where the frames of one invocation go. */
export interface InvocationSink {
  /** Its code runs from now on. */
  begun(): void;
  /** It has not started here and never will: the sandbox was busy for too long, or has ended. */
  withdrawn(): void;
  frame(kind: number, payload: Buffer): void;
  /** Bytes that were written to descriptors 1 and 2 past the runtime. */
  output(stream: 'stdout' | 'stderr', bytes: Buffer): void;
  /** A system call that was refused, such as `socket(AF_VSOCK)`. */
  refused?(call: string): void;
  /** While it runs something has been printed of which nobody knows whether it is of this invocation. */
  unclaimed?(): void;
  /** What gets what is said in its name after release(). */
  afterwards?(): InvocationSink;
}

export interface SandboxParts {
  readonly id: string;
  readonly slot: number;
  readonly scratchMb: number;
  readonly cgroup: Cgroup;
  readonly zygote: Zygote;
}

/** What all processes of a sandbox have used since it was made. */
export interface SandboxUsage {
  readonly cpuMs: number;
  readonly memoryPeak: number;
  /** Processes that the kernel ended for memory. */
  readonly oomKills: number;
  /** Processes and threads that the kernel refused it. */
  readonly pidsRefused: number;
}

/** Invocations that have ended of which it is known whose it is that their code still says; what is older is unclaimed. */
const MAX_LATE = 16;

/**
 * Share of its memory that a sandbox has had when the kernel ends a process of it. It is all of it, but for what lies in swap;
 * and when it is the host that is short of memory, it is less, which the clock of the pool sees.
 */
const NEAR_LIMIT = 0.5;

export class Sandbox {
  readonly id: string;
  readonly slot: number;
  readonly cgroup: Cgroup;
  /** Settles when C has prepared it, with the microseconds of each phase; rejects when it ended instead. */
  readonly prepared: Promise<number[]>;
  /** Settles with the facts of its end, after its processes are gone and its last frames have been read. */
  readonly ended: Promise<Exit>;
  readonly #told = new Set<() => void>();
  exit: Exit | undefined;
  /** Known from the moment at which it is isolated. */
  isolation: IsolationFacts | undefined;
  /** It is to be given no further invocation, and to be ended after those that it has. */
  spent = false;
  readonly #zygote: Zygote;
  readonly #channel: SandboxChannel;
  /** Set while its function has egress. */
  network: SandboxNetwork | undefined;
  readonly #outputs: OutputPipes;
  readonly #endWatch: () => void;
  readonly #sinks = new Map<number, InvocationSink>();
  readonly #turns: Turns;
  readonly #turnsPage: TurnsPage;
  #finalUsage: SandboxUsage | undefined;
  /** Memory at most, when that was read last. */
  #peak = 0;
  readonly #idle = new IdleMeter();
  #pidsRefusedTold = 0;
  #killedFor: KillReason | undefined;
  /** A signal that it has sent to itself, which the kernel keeps from a PID 1. */
  #ownSignal: string | undefined;
  #nextHandle = 1;
  /** Invocations that have begun. */
  #begun = 0;
  /** OTHERS_ bits that hold for what is read now, and those that were told last. */
  #others = 0;
  #othersTold = 0;
  /** Of the invocations that were released last, by handle. */
  readonly #late = new Map<number, InvocationSink>();
  /** An invocation that has settled while output of it waits to be read. */
  #settling: number | undefined;

  constructor(parts: SandboxParts) {
    this.id = parts.id;
    this.slot = parts.slot;
    this.cgroup = parts.cgroup;
    this.#zygote = parts.zygote;
    const [channel, theirChannel] = native.socketpair();
    // Whoever reads bytes with descriptors closes those, and a socket may take an hour to close. Older kernels have no such
    // switch, and their sandboxes no such sockets (worker/native/sandbox.c).
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
    this.prepared = this.#channel.expect(ChannelKind.PREPARED).then(readNumbers);
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
    this.#turns = new Turns({
      post: () => native.postTurn(turns),
      takeBack: (max) => native.takeTurnsBack(turns, max),
    });
    const theirs = [theirChannel, ...this.#outputs.theirs, theirTurns, theirRefusals];
    // In the order of contract/control.ts.
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

  /** May an invocation still be handed to it? */
  get usable(): boolean {
    return !this.exit && !this.spent;
  }

  get zygote(): Zygote {
    return this.#zygote;
  }

  /**
   * Makes the prepared sandbox that of a function. Settles when it is isolated; `ready` when the function is loaded.
   * `approve`: looks at what it is isolated by before it is told what to load; what it throws, `isolated` rejects with.
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
      const numbers = readNumbers(payload);
      this.isolation = readFacts(numbers.slice(ISOLATED_PHASES));
      if (approve) {
        approve(this.isolation);
        this.#channel.write(told);
      }
      return numbers.slice(0, ISOLATED_PHASES);
    });
    const ready = this.#channel.expect(ChannelKind.READY).then(() => undefined);
    isolated.catch(() => undefined);
    ready.catch(() => undefined);
    const order = specialiseFrame(code, hostname, limits);
    // Where somebody has to look first, it is told what to load only then.
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
   * Calls this once when the sandbox has ended, unless what is returned is called before: what waits for it by a then() of
   * `ended` would be held as long as the sandbox lives, and there is one for each of many thousands of runs.
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
   * Hands over an invocation; from its begin on its frames go to `sink`, until release(). Returns its handle. `shared`:
   * beside those that run already; otherwise it begins when those before it are released.
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
    const length = Buffer.allocUnsafe(4);
    length.writeUInt32LE(told.length, 0);
    this.#channel.write(encodeChannelFrame(ChannelKind.INVOKE, handle, length, told, payload));
    return handle;
  }

  /** Sends the next piece of a request body. Resolves when there is room for another one, or nobody is left to read it. */
  async sendBody(handle: number, piece: Buffer): Promise<void> {
    await this.#channel.writePatiently(ChannelKind.BODY, handle, piece);
  }

  /** The invocation has settled, or is of no more interest; the next one begins. */
  release(handle: number): void {
    if (this.exit || !this.#outputs.waiting) return this.#release(handle);
    // What its native code and its processes have written is still to be read, and the sandbox starts the next one only after
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

  /** Invocations that were handed ahead and have not begun; `open` says whether another may be. */
  get turns(): Pick<Turns, 'ahead' | 'open' | 'withdraw' | 'withdrawStuck'> {
    return this.#turns;
  }

  /** Whom the frames and the output belong to that no invocation claims, such as logs of the module's load. */
  onUnclaimed: InvocationSink | undefined;

  /** Counts bytes of a stream that are on their way to the caller; reading stops while there are too many. */
  addUncredited(bytes: number): void {
    this.#channel.addUncredited(bytes);
  }

  credit(bytes: number): void {
    this.#channel.credit(bytes);
  }

  /** So many bytes of its output have been thrown away. */
  discarded(bytes: number): void {
    this.#channel.discarded(bytes);
  }

  /** Since when it could have been heard, by performance.now(); undefined while it is held back because its readers are behind. */
  get readableSince(): number | undefined {
    return this.#channel.readableSince;
  }

  /** Settles when what native code has written until now has been handed to the sinks. */
  async drainOutput(): Promise<void> {
    // Where nothing runs any more, release() has looked.
    if (!this.exit && this.#sinks.size > 0) await this.#outputs.drained();
  }

  /** Its figures now, or at its end. */
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

  /** Processes and threads that were refused it since this was last asked. */
  takePidsRefused(): number {
    const refused = this.#finalUsage?.pidsRefused ?? this.cgroup.pidsRefused();
    const fresh = refused - this.#pidsRefusedTold;
    if (fresh > 0) this.#pidsRefusedTold = refused;
    return Math.max(0, fresh);
  }

  /** Why it has ended; only then. */
  get end(): SandboxEnd | undefined {
    if (!this.exit) return undefined;
    return this.#killedFor ?? whyEnded(this.exit, this.usage().oomKills);
  }

  cpuMs(): number {
    const ms = this.#finalUsage?.cpuMs ?? this.cgroup.cpuMs();
    this.#idle.saw(ms);
    return ms;
  }

  /** From now on, until an invocation begins, what it uses is of none. */
  rest(): void {
    this.#idle.rests(() => this.#finalUsage?.cpuMs ?? this.cgroup.cpuMs());
  }

  /** Milliseconds of processor time while none ran, as far as that was looked at. */
  get idleCpuMs(): number {
    return this.#idle.ms;
  }

  memoryPeak(): number {
    return this.#finalUsage?.memoryPeak ?? (this.#peak = this.cgroup.memoryPeak());
  }

  /**
   * Ends it when the kernel has ended a process of it for memory: on cgroup v1 the others go on, as half of a process tree.
   * By `least`, its peak as it was read last, it is known without a look at one more file that nothing of the kind has
   * happened to nearly all sandboxes. Returns whether it is the end of it.
   */
  endIfOutOfMemory(least = NEAR_LIMIT): boolean {
    const { memoryBytes } = this.cgroup.limits;
    if (this.exit || this.#peak < memoryBytes * least || this.cgroup.oomKills() === 0) return false;
    this.kill('out_of_memory');
    return true;
  }

  /**
   * Both ways: the cgroup needs no zygote that answers, the zygote no cgroup that the sandbox has joined already. Of several
   * reasons the first counts; without one it ends as if by itself.
   */
  kill(reason?: KillReason): void {
    if (this.exit) return;
    this.#killedFor ??= reason;
    // What it is running may settle before the signal arrives; it must not be given the next one then.
    this.spent = true;
    this.cgroup.kill();
    this.#zygote.kill(this.slot);
  }

  /** Is something left of invocations that have settled, or of the load, that runs by itself? */
  get #hasOlder(): boolean {
    return (this.#others & OTHERS_RUN) !== 0;
  }

  /** Native code may have begun anything, in threads that nobody knows, for an invocation before the one that runs. */
  get #hasOlderNative(): boolean {
    return (this.#others & OTHERS_NATIVE) !== 0 && this.#begun > 1;
  }

  /** Whose it is that only the sandbox is known of: the one invocation that runs, if it is one and nothing is older. */
  #sinkOf(hasOlder: boolean): InvocationSink | undefined {
    const [only] = this.#sinks.values();
    return this.#sinks.size === 1 && !hasOlder ? only : this.onUnclaimed;
  }

  #learnOthers(others: number): void {
    this.#othersTold = others;
    this.#others |= others;
    if (this.#others === others) return;
    // What those have written that are gone now may still be there to be read.
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
      this.#ownSignal = signalName(payload[0] ?? 0);
      this.kill();
      return;
    }
    if (kind === ChannelKind.OTHERS) return this.#learnOthers(payload[0] ?? 0);
    // The one after the invocation that is settling says something, so the output of that one has been read.
    if (this.#settling !== undefined && handle > this.#settling) this.#release(this.#settling);
    const sink = this.#sinks.get(handle) ?? this.#late.get(handle) ?? this.onUnclaimed;
    if (sink) sink.frame(kind, payload);
    else this.discarded(payload.length);
  }

  #end(reaped: Exit, onEnded: (exit: Exit) => void): void {
    const signal = (reaped.signal === 'SIGKILL' && !reaped.zygoteLost && this.#ownSignal) || reaped.signal;
    const exit = { ...reaped, signal };
    // Before anybody hears of the end, because then the cgroup is removed.
    this.#finalUsage = this.usage();
    this.#idle.saw(this.#finalUsage.cpuMs);
    this.exit = exit;
    this.#channel.ended = true;
    this.#endWatch();
    // What it wrote before its end is still in the sockets. They reach their end of file by themselves, because no
    // process is left that holds the other side.
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
