/**
 * Represents one sandbox, from the fork to its end: it takes invocations, and is killed. links.ts connects it, start-up.ts gives it
 * its function, sinks.ts routes its frames and output, usage.ts counts its resources. Its states:
 *
 *   starting ---> prepared ---> loading ---> ready ---> spent       starting: forked, and C prepares it
 *       |                          ^           |          |         prepared: it waits in C for a function
 *       +--------------------------+           v          v         spent:    it takes no further invocation
 *                                            killed ---> ended      killed:   the signal is on its way
 *
 * Nothing goes back, and each state may go straight to killed or ended. A cold start sends the order before C has prepared.
 *
 * All data from a sandbox is hostile: frames are capped before they are kept, JSON is small and checked, and an invalid frame
 * ends the sandbox.
 */
import {
  ChannelKind,
  encodeChannelFrame,
  OTHERS_LISTEN,
  putInvoke,
  putStop,
  readOthers,
  readSignalled,
  type InvokeContext,
  type SandboxInit,
} from '#contract/wire/channel.ts';
import { SANDBOX_ENDS, type SandboxEnd } from '#contract/platform/sandbox-end.ts';
import type { Cgroup } from '../cgroup/driver.ts';
import type { SandboxNetwork } from '../network/egress.ts';
import { Grace, GRACE_MS } from './grace.ts';
import type { CallQueue } from './call-queue.ts';
import type { SandboxChannel } from './channel.ts';
import { whyEnded } from './zygote/exit-cause.ts';
import { readPreparation, type IsolationFacts } from './isolation-facts.ts';
import { Links } from './links.ts';
import { Sinks, type InvocationSink } from './sinks.ts';
import { DEFAULT_FILE_LIMITS, SandboxStartError } from './specialise.ts';
import { readHandlers, startUp, type StartUp } from './start-up.ts';
import { Usage } from './usage.ts';
import { describeExit, signalName, type Exit, type Zygote } from './zygote/zygote.ts';

function describeEnd(reason: SandboxEnd): string {
  return reason in SANDBOX_ENDS ? SANDBOX_ENDS[reason as keyof typeof SANDBOX_ENDS] : reason;
}

type State = 'starting' | 'prepared' | 'loading' | 'ready' | 'spent' | 'killed' | 'ended';

/** States that may follow each. */
const FOLLOWS: Readonly<Record<State, readonly State[]>> = {
  starting: ['prepared', 'loading', 'killed', 'ended'],
  prepared: ['loading', 'killed', 'ended'],
  loading: ['ready', 'killed', 'ended'],
  ready: ['spent', 'killed', 'ended'],
  spent: ['killed', 'ended'],
  killed: ['ended'],
  ended: [],
};

export interface SandboxParts {
  readonly id: string;
  readonly slot: number;
  readonly scratchMb: number;
  readonly cgroup: Cgroup;
  readonly zygote: Zygote;
}

/**
 * Share of its memory limit that a sandbox must have reached before an OOM kill is looked for. Its peak is near the whole limit,
 * less the pages in swap. When the host is short of memory, the share may be smaller; the pool's periodic check covers that.
 */
const NEAR_LIMIT = 0.5;

export class Sandbox {
  readonly id: string;
  readonly slot: number;
  readonly cgroup: Cgroup;
  readonly zygote: Zygote;
  readonly usage: Usage;
  /** Settles when C has prepared the sandbox, with the microseconds of each phase; rejects when it ended instead. */
  readonly prepared: Promise<number[]>;
  /** Settles with the exit, after the sandbox's processes are gone and its last frames have been read. */
  readonly ended: Promise<Exit>;
  /** Set from the state `ended` on, and only then. */
  exit: Exit | undefined;
  /** Set when its process says that it ends by an error while it runs no invocation. */
  hasDiedIdle = false;
  /** Number of invocations that ran in it when it ended, and had no end of their own. */
  unansweredAtEnd = 0;
  /** Set once the sandbox is isolated. */
  isolation: IsolationFacts | undefined;
  /** Handlers of its function, once that is loaded. */
  handlers: ReturnType<typeof readHandlers>;
  /** Set while its function has egress. */
  network: SandboxNetwork | undefined;
  #state: State = 'starting';
  readonly #links: Links;
  readonly #sinks: Sinks;
  /** Called when `ended` settles. */
  readonly #told = new Set<() => void>();
  #killedFor: SandboxEnd | undefined;
  /** Name of a signal that the sandbox sent to itself; the kernel keeps such signals from a PID 1. */
  #ownSignal: string | undefined;
  #nextHandle = 1;
  /** Does the function listen to the end of its process? */
  #listens = false;
  #grace: Grace | undefined;

  constructor(parts: SandboxParts) {
    this.id = parts.id;
    this.slot = parts.slot;
    this.cgroup = parts.cgroup;
    this.zygote = parts.zygote;
    this.usage = new Usage(parts.cgroup);
    this.#links = new Links({
      receive: (kind, handle, payload) => this.#receive(kind, handle, payload),
      broken: () => this.kill('misbehaved'),
      output: (stream, bytes) => this.#sinks.output(stream, bytes),
      refused: (call) => this.#sinks.refused(call),
    });
    const { channel, outputs, theirs } = this.#links;
    this.#sinks = new Sinks(outputs, (bytes) => channel.discarded(bytes));
    this.prepared = channel.expect(ChannelKind.PREPARED).then((payload) => {
      const phases = readPreparation(payload);
      // A cold start has its order already.
      if (this.#state === 'starting') this.#become('prepared');
      return phases;
    });
    this.prepared.catch(() => undefined);
    const { promise, resolve: onEnded } = Promise.withResolvers<Exit>();
    this.ended = promise;
    void this.ended.then(() => {
      for (const told of this.#told) told();
      this.#told.clear();
    });
    try {
      const given = [...theirs, ...parts.cgroup.joinFds];
      parts.zygote.fork(parts.slot, parts.scratchMb, given, (exit) => this.#end(exit, onEnded));
    } finally {
      this.#links.closeTheirs();
      parts.cgroup.closeJoinFds();
    }
  }

  get state(): State {
    return this.#state;
  }

  /** May an invocation still be handed to this sandbox? */
  get usable(): boolean {
    return this.#state === 'ready';
  }

  #become(next: State): void {
    if (!FOLLOWS[this.#state].includes(next))
      throw new Error(`sandbox ${this.id} cannot go from ${this.#state} to ${next}`);
    this.#state = next;
  }

  /** Gives the sandbox its function, as StartOrder says. */
  specialise(
    code: string,
    hostname: string,
    init: SandboxInit,
    limits = DEFAULT_FILE_LIMITS,
    network?: SandboxNetwork,
    approve?: (facts: IsolationFacts) => void,
  ): StartUp<void> {
    // A sandbox that has ended meanwhile rejects both steps.
    if (this.#state === 'starting' || this.#state === 'prepared') this.#become('loading');
    if (network) {
      this.network = network;
      void this.ended.then(() => network.release());
    }
    const order = { code, hostname, init, limits, network, approve };
    const { isolated, ready } = startUp(this.#links.channel, order, (facts) => {
      this.isolation = facts;
    });
    const loaded = ready.then((report) => {
      this.handlers = readHandlers(report);
      if (this.#state === 'loading') this.#become('ready');
    });
    loaded.catch(() => undefined);
    return { isolated, ready: loaded };
  }

  /**
   * Calls `told` once when the sandbox has ended, unless the returned function is called before. A then() on `ended` would be
   * held as long as the sandbox lives, once for each of many thousands of runs.
   */
  whenEnded(told: () => void): () => void {
    if (this.#state === 'ended') {
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
      this.#sinks.begin(handle, sink);
      this.usage.begins();
    };
    const turn = { handle, begin, withdrawn: () => sink.withdrawn() };
    const ahead = !shared && this.#links.turns.add(turn);
    if (shared) begin();
    const told = Buffer.from(JSON.stringify(ahead ? { ...context, ahead } : context));
    const parts = putInvoke({ context: told, request: payload });
    this.#links.channel.write(encodeChannelFrame(ChannelKind.INVOKE, handle, ...parts));
    return handle;
  }

  /** Number of invocations beside one that runs. */
  get neighbours(): number {
    return Math.max(0, this.#sinks.running - 1);
  }

  /**
   * Asks an invocation to end by itself within the grace; its sink gets STOPPING as the answer. `alone`: no other invocation runs
   * in the sandbox, so the process may be ended for it.
   */
  stop(handle: number, { alone, reason }: { alone: boolean; reason: string }): void {
    const parts = putStop({ graceMs: GRACE_MS, alone: alone ? 1 : 0, reason: Buffer.from(reason) });
    this.#links.channel.write(encodeChannelFrame(ChannelKind.STOP, handle, ...parts));
  }

  /** Ends a sandbox in which nothing runs. If its function listens to the end of its process, it has a grace for that. */
  dismiss(reason: SandboxEnd, text: string = describeEnd(reason)): void {
    if (!this.#listens || (this.#state !== 'ready' && this.#state !== 'spent')) return this.kill(reason);
    if (this.#grace) return;
    this.retire();
    this.#killedFor ??= reason;
    this.#grace = new Grace(() => this.kill(reason));
    this.stop(0, { alone: true, reason: text });
  }

  /** Sends the next piece of a request body. Resolves when there is room for another one, or the channel has closed. */
  async sendBody(handle: number, piece: Buffer): Promise<void> {
    await this.#links.channel.writePatiently(ChannelKind.BODY, handle, piece);
  }

  /** Releases an invocation that has settled or was abandoned; the next one begins. */
  release(handle: number): void {
    this.#sinks.release(handle, this.#state === 'ended', () => {
      if (this.#sinks.running === 0) this.usage.rests();
      this.#links.turns.done(handle);
    });
  }

  /** The calls that were handed ahead and have not begun; `open` says whether another may be. */
  get turns(): Pick<CallQueue, 'ahead' | 'open' | 'withdraw' | 'withdrawStuck'> {
    return this.#links.turns;
  }

  /** Sets the receiver of frames and output that belong to no invocation, such as logs of the module's load. */
  set onUnclaimed(sink: InvocationSink | undefined) {
    this.#sinks.unclaimed = sink;
  }

  /** How fast the sandbox is read: bytes that are on their way to a caller, and bytes that were discarded, slow it down. */
  get flow(): Pick<SandboxChannel, 'addUncredited' | 'credit' | 'discarded' | 'readableSince'> {
    return this.#links.channel;
  }

  /** Settles when the output that native code has written until now has been handed to the sinks. */
  async drainOutput(): Promise<void> {
    // When no invocation runs, release() has drained the output.
    if (this.#state !== 'ended' && this.#sinks.running > 0) await this.#links.outputs.drained();
  }

  /** Reason for the end; undefined while the sandbox lives. */
  get end(): SandboxEnd | undefined {
    if (!this.exit) return undefined;
    return this.#killedFor ?? whyEnded(this.exit, this.usage.now.oomKills);
  }

  /** Lets the sandbox take no further invocation. The pool ends it after those that it has. */
  retire(): void {
    if (this.#state === 'ready') this.#become('spent');
  }

  /**
   * Ends the sandbox if the kernel killed one of its processes for memory: on cgroup v1 the others go on, as half of a process
   * tree. Returns whether it did. `least`: see Usage.isOutOfMemory().
   */
  endIfOutOfMemory(least = NEAR_LIMIT): boolean {
    if (this.#state === 'ended' || !this.usage.isOutOfMemory(least)) return false;
    this.kill('out_of_memory');
    return true;
  }

  /**
   * Kills the sandbox in both ways: the cgroup works without an answer of the zygote, the zygote before the sandbox has joined
   * its cgroup. Of several reasons the first counts; without one the sandbox counts as ended by itself.
   */
  kill(reason?: SandboxEnd): void {
    if (this.#state === 'ended') return;
    // The running invocation may settle before the signal arrives; then the sandbox must not get the next one.
    if (this.#state !== 'killed') this.#become('killed');
    this.#killedFor ??= reason;
    this.cgroup.kill();
    this.zygote.kill(this.slot);
  }

  #receive(kind: number, handle: number, payload: Buffer): void {
    switch (kind) {
      case ChannelKind.SETUP_FAILED:
        return this.#links.channel.rejectAll(new SandboxStartError(payload.toString('utf8')));
      case ChannelKind.LOAD_FAILED:
        return this.#links.channel.rejectAll(
          new SandboxStartError('the module failed to load', Buffer.from(payload)),
        );
      case ChannelKind.SIGNALLED:
        this.#ownSignal = signalName(readSignalled(payload)?.signal ?? 0);
        return this.kill();
      case ChannelKind.OTHERS:
        return this.#learn(readOthers(payload)?.others ?? 0);
      case ChannelKind.FAILED:
        if (handle !== 0) return this.#sinks.frame(kind, handle, payload);
        this.hasDiedIdle = true;
        return this.retire();
      case ChannelKind.STOPPING:
        if (handle === 0) return this.#grace?.answered(payload);
        return this.#sinks.frame(kind, handle, payload);
      default:
        this.#sinks.frame(kind, handle, payload);
    }
  }

  #learn(others: number): void {
    this.#listens = (others & OTHERS_LISTEN) !== 0;
    this.#sinks.others(others & ~OTHERS_LISTEN);
  }

  #end(reaped: Exit, onEnded: (exit: Exit) => void): void {
    const signal = (reaped.signal === 'SIGKILL' && !reaped.zygoteLost && this.#ownSignal) || reaped.signal;
    const exit = { ...reaped, signal };
    this.#grace?.close();
    this.unansweredAtEnd = this.#sinks.unanswered;
    this.usage.end();
    this.#become('ended');
    this.exit = exit;
    this.#links.end(`the sandbox ended: ${describeExit(exit)}`, () => onEnded(exit));
  }
}
