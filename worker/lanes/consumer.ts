/**
 * Takes calls from the lanes of all namespaces, by their weights, while there is room. Tells gateways which calls it has taken,
 * and obeys their control frames.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import {
  decodeLaneFrame,
  encodeLaneFrame,
  LaneKind,
  type CallHeader,
  type ControlHeader,
} from '#contract/platform/lane.ts';
import { TAKEN_NOTICE_MS } from '#contract/functions/limits.ts';
import { type AnyLaneReader, type AnyLaneReaderOptions, openLaneReader } from '#storage/lane/cluster-lane.ts';
import { DEFAULT_WEIGHT, type NamespaceLimits } from '#contract/functions/quota.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { LaneWriter } from '#storage/lane/lane.ts';
import type { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { Execution, type ExecuteDeps } from '../run/execute.ts';
import { LaneOrder } from './lane-order.ts';
import { log } from '../process/log.ts';
import { Replies } from './replies.ts';

export interface ConsumerOptions extends Omit<ExecuteDeps, 'reply'> {
  readonly capacity: number;
  readonly writer: LaneWriter;
  /** Two connections of connectBlocking: for the lanes and for the control list, which is read even at capacity. */
  readonly lanes: AnyLaneReaderOptions['blocking'];
  readonly control: AnyLaneReaderOptions['blocking'];
  readonly commands: Redis;
  /** Called for each removed function, as `namespace/name`. */
  readonly onRemoved: (name: string) => void;
  /** Called with all namespaces and their limits, at each refresh. */
  readonly onNamespaces: (
    namespaces: readonly string[],
    limits: ReadonlyMap<string, NamespaceLimits>,
  ) => void;
  readonly functions: Pick<FunctionRepository, 'namespaces'>;
  readonly limits: NamespaceLimitsStore;
  /** Finds runs that did not come through a lane; the same control frames cancel them. */
  readonly elsewhere: (id: string) => Pick<Execution, 'cancel' | 'credit'> | undefined;
}

interface Taken {
  readonly execution: Execution;
  readonly gateway: string;
  readonly at: number;
}

/** Interval between reads of the namespaces, in case a REFRESH was lost. */
const REFRESH_MS = 2_000;

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #deps: ExecuteDeps;
  readonly #lanes: AnyLaneReader;
  readonly #control: AnyLaneReader;
  readonly #running = new Map<string, Taken>();
  /** Calls taken but not announced yet, oldest first. */
  readonly #unannounced = new Map<string, Taken>();
  #announcing: NodeJS.Timeout | undefined;
  #refreshing: NodeJS.Timeout | undefined;
  readonly #order = new LaneOrder();

  constructor(options: ConsumerOptions) {
    this.#options = options;
    const replies = new Replies(options.writer, options.workerId, log);
    this.#deps = { ...options, reply: (gateway, frame) => replies.send(gateway, frame) };
    this.#lanes = openLaneReader({
      blocking: options.lanes,
      commands: options.commands,
      keys: () => this.#order.keys(),
      count: () => this.#order.count(options.capacity - this.#running.size),
      onFrames: (list, frames) => {
        this.#order.taken(list, frames.length);
        this.#each(frames, (frame) => this.#take(frame));
      },
      log,
    });
    this.#control = openLaneReader({
      blocking: options.control,
      commands: options.commands,
      keys: () => [keys.control(options.workerId)],
      count: () => 100,
      onFrames: (_, frames) => this.#each(frames, (frame) => this.#obey(frame)),
      log,
    });
  }

  get running(): number {
    return this.#running.size;
  }

  async start(): Promise<void> {
    await this.refresh();
    this.#refreshing = setInterval(() => void this.refresh(), REFRESH_MS);
    this.#control.start();
    this.#lanes.start();
  }

  /** Takes no more calls, and settles when all that were taken have been answered, or after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    clearInterval(this.#refreshing);
    await this.#lanes.stop();
    const end = performance.now() + graceMs;
    while (this.#running.size > 0 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await this.#control.stop();
  }

  /** Reads the namespaces and their shares of this worker. */
  async refresh(): Promise<void> {
    const { functions, limits, onNamespaces } = this.#options;
    try {
      const [namespaces, known] = await Promise.all([functions.namespaces(), limits.all()]);
      onNamespaces(namespaces, known);
      const weights = new Map(
        namespaces.map((name) => [keys.lane(name), known.get(name)?.weight ?? DEFAULT_WEIGHT]),
      );
      const changed = this.#order.follow([...weights.keys()], (lane) => weights.get(lane) ?? DEFAULT_WEIGHT);
      if (changed) this.#lanes.wake();
    } catch {
      // Redis is away, which its connection has logged; the last answer stands until it is back.
    }
  }

  /** Handles frames one by one: an invalid frame must not take the others of its batch along. */
  #each(frames: readonly Buffer[], handle: (frame: Buffer) => void): void {
    for (const frame of frames) {
      try {
        handle(frame);
      } catch (error) {
        log.error({ error }, 'a frame could not be handled');
      }
    }
  }

  #take(frame: Buffer): void {
    const { kind, header, body } = decodeLaneFrame(frame);
    if (kind !== LaneKind.CALL) throw new Error(`a lane holds a frame of kind ${kind}`);
    const call = header as CallHeader;
    // The call's deadline has passed and its caller has gone; running it now would be a surprise.
    if (call.deadline < sharedNow()) return;
    const execution = new Execution(call, this.#deps);
    const taken = { execution, gateway: call.gateway, at: performance.now() };
    const wasFull = this.#running.size + 1 >= this.#options.capacity;
    this.#running.set(call.id, taken);
    this.#unannounced.set(call.id, taken);
    if (!this.#announcing) this.#announcing = setTimeout(() => this.#announce(), TAKEN_NOTICE_MS);
    void execution.execute(body).finally(() => {
      const full = this.#running.size >= this.#options.capacity;
      this.#running.delete(call.id);
      this.#unannounced.delete(call.id);
      if (full || wasFull) this.#lanes.wake();
    });
  }

  /**
   * Announces calls that have run for a while. Short calls are answered before that, so only longer ones cost a frame, many of
   * them together.
   */
  #announce(): void {
    this.#announcing = undefined;
    const due = performance.now() - TAKEN_NOTICE_MS + 1;
    const byGateway = new Map<string, string[]>();
    for (const [id, { gateway, at }] of this.#unannounced) {
      if (at > due) break;
      this.#unannounced.delete(id);
      const ids = byGateway.get(gateway);
      if (ids) ids.push(id);
      else byGateway.set(gateway, [id]);
    }
    for (const [gateway, ids] of byGateway) {
      this.#deps.reply(gateway, encodeLaneFrame(LaneKind.TAKEN, { worker: this.#options.workerId, ids }));
    }
    if (this.#unannounced.size > 0) this.#announcing = setTimeout(() => this.#announce(), TAKEN_NOTICE_MS);
  }

  #obey(frame: Buffer): void {
    const { kind, header } = decodeLaneFrame(frame);
    const { id, bytes, by, function: name } = header as ControlHeader;
    const execution = this.#running.get(id)?.execution ?? this.#options.elsewhere(id);
    if (kind === LaneKind.CANCEL) execution?.cancel(by);
    if (kind === LaneKind.CREDIT) execution?.credit(bytes ?? 0);
    if (kind === LaneKind.REFRESH) void this.refresh();
    if (kind === LaneKind.FORGET && name !== undefined) this.#options.onRemoved(name);
  }
}
