/**
 * A test double of the wire and of nothing else: it takes calls from the lane and answers them with frames, as a worker
 * does, but runs no function. The test decides each answer.
 */
import type { Redis } from 'ioredis';
import type { RunReport } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import {
  decodeLaneFrame,
  encodeLaneFrame,
  LaneKind,
  type CallHeader,
  type ControlHeader,
  type ReplyHeader,
} from '#contract/platform/lane.ts';
import { TAKEN_NOTICE_MS, WORKER_HEARTBEAT_MS, WORKER_TTL_MS } from '#contract/functions/limits.ts';
import type { Outcome } from '#contract/invocations/outcome.ts';
import { decodePayload, encodePayload, type RequestMeta, type ResponseMeta } from '#contract/wire/payload.ts';
import { LaneReader, LaneWriter } from '#storage/lane/lane.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { QUIET } from './fixture.ts';

export interface FakeCall {
  readonly header: CallHeader;
  readonly meta: RequestMeta;
  readonly body: Buffer;
  /** Bytes that the gateway has credited up to now. */
  credited: number;
  cancelled: boolean;
  result(meta: ResponseMeta, body?: Uint8Array): void;
  head(meta: ResponseMeta, body?: Uint8Array): void;
  chunk(body: Uint8Array): void;
  end(report?: Partial<RunReport>): void;
  failed(outcome: Outcome, report?: Partial<RunReport>): void;
  /** A RESULT with exactly these bytes as its body. */
  raw(payload: Uint8Array): void;
}

export type FakeHandler = (call: FakeCall) => void;

export class FakeWorker {
  readonly id: string;
  readonly calls = new Map<string, FakeCall>();
  refreshed = 0;
  readonly #handler: FakeHandler;
  readonly #commands: Redis;
  readonly #writer: LaneWriter;
  readonly #lane: Redis;
  readonly #lanes: LaneReader;
  readonly #control: LaneReader;
  #namespaces: string[] = [];
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(url: string, id: string, handler: FakeHandler) {
    this.id = id;
    this.#handler = handler;
    this.#commands = connectRedis(url, 'commands', QUIET);
    this.#lane = connectRedis(url, 'lane', QUIET);
    this.#writer = new LaneWriter(this.#lane);
    const common = { commands: this.#commands, log: QUIET };
    this.#lanes = new LaneReader({
      ...common,
      blocking: connectRedis(url, 'blocking', QUIET),
      keys: () => this.#namespaces.map((namespace) => keys.lane(namespace)),
      count: () => 64,
      onFrames: (_list, frames) => frames.forEach((frame) => this.#onCall(frame)),
    });
    this.#control = new LaneReader({
      ...common,
      blocking: connectRedis(url, 'blocking', QUIET),
      keys: () => [keys.control(id)],
      count: () => 64,
      onFrames: (_list, frames) => frames.forEach((frame) => this.#onControl(frame)),
    });
  }

  async start(): Promise<void> {
    if (this.#commands.status !== 'ready') {
      await new Promise<void>((resolve) => this.#commands.once('ready', () => resolve()));
    }
    await this.#beat();
    this.#heartbeat = setInterval(() => void this.#beat().catch(() => undefined), WORKER_HEARTBEAT_MS);
    await this.#refresh();
    this.#lanes.start();
    this.#control.start();
  }

  /** Nobody hears of it, though it lives. Returns what ends that. */
  muted(): () => Promise<void> {
    clearInterval(this.#heartbeat);
    return async () => {
      this.#heartbeat = setInterval(() => void this.#beat().catch(() => undefined), WORKER_HEARTBEAT_MS);
      await this.#beat();
    };
  }

  /** Leaves properly. */
  async stop(): Promise<void> {
    clearInterval(this.#heartbeat);
    await Promise.all([this.#lanes.stop(), this.#control.stop()]);
    await this.#commands.del(keys.worker(this.id)).catch(() => undefined);
    await this.#commands.zrem(keys.workers(), this.id).catch(() => undefined);
    this.#commands.disconnect();
    this.#lane.disconnect();
  }

  /** Falls silent as a killed process does: nothing is cleaned up, and the heartbeat expires. */
  async die(): Promise<void> {
    clearInterval(this.#heartbeat);
    this.#lane.disconnect();
    await Promise.all([this.#lanes.stop(), this.#control.stop()]);
    this.#commands.disconnect();
  }

  async #beat(): Promise<void> {
    const status = {
      id: this.id,
      startedAt: 0,
      prepared: 0,
      idle: 1,
      busy: 0,
      running: this.calls.size,
      capacity: 64,
    };
    await Promise.all([
      this.#commands.set(keys.worker(this.id), JSON.stringify(status), 'PX', WORKER_TTL_MS),
      this.#commands.zadd(keys.workers(), Date.now(), this.id),
    ]);
  }

  async #refresh(): Promise<void> {
    this.#namespaces = await this.#commands.smembers(keys.namespaces());
    this.#lanes.wake();
  }

  #onControl(frame: Buffer): void {
    const { kind, header } = decodeLaneFrame(frame);
    const { id, bytes } = header as ControlHeader;
    const call = this.calls.get(id);
    if (kind === LaneKind.REFRESH) {
      this.refreshed++;
      void this.#refresh().catch(() => undefined);
    } else if (kind === LaneKind.CREDIT && call) call.credited += bytes ?? 0;
    else if (kind === LaneKind.CANCEL && call) {
      call.cancelled = true;
      call.failed('cancelled');
    }
  }

  #onCall(frame: Buffer): void {
    const { header, body } = decodeLaneFrame(frame);
    const call = this.#callOf(header as CallHeader, body);
    const notice = setTimeout(() => {
      const taken = encodeLaneFrame(LaneKind.TAKEN, { worker: this.id, ids: [call.header.id] });
      void this.#writer.push(keys.replies(call.header.gateway), taken).catch(() => undefined);
    }, TAKEN_NOTICE_MS);
    this.calls.set(call.header.id, call);
    this.#notices.set(call.header.id, notice);
    if (call.header.deadline < Date.now()) this.#forget(call.header.id);
    else this.#handler(call);
  }

  readonly #notices = new Map<string, NodeJS.Timeout>();

  #forget(id: string): void {
    clearTimeout(this.#notices.get(id));
    this.#notices.delete(id);
    this.calls.delete(id);
  }

  #callOf(header: CallHeader, payload: Buffer): FakeCall {
    const taken = performance.now();
    const { meta, body } = decodePayload(payload);
    const report = (outcome: Outcome, more: Partial<RunReport> = {}): RunReport => {
      const total = performance.now() - taken;
      return {
        outcome,
        worker: this.id,
        acquired: 'idle',
        timings: { acquire: total / 4, init: 0, run: total / 2, total },
        usage: { cpu: 1, memoryPeak: 1_000_000 },
        logBytes: 0,
        logBytesDropped: 0,
        ...more,
      };
    };
    const send = (kind: LaneKind, ended: RunReport | undefined, bytes: Uint8Array): void => {
      if (ended) this.#forget(header.id);
      const reply: ReplyHeader = { id: header.id, worker: this.id, ...(ended && { report: ended }) };
      void this.#writer
        .push(keys.replies(header.gateway), encodeLaneFrame(kind, reply, bytes))
        .catch(() => undefined);
    };
    const nothing = Buffer.alloc(0);
    return {
      header,
      meta: meta as RequestMeta,
      body,
      credited: 0,
      cancelled: false,
      result: (response, bytes = nothing) =>
        send(LaneKind.RESULT, report('ok'), encodePayload(response, bytes)),
      raw: (bytes) => send(LaneKind.RESULT, report('ok'), bytes),
      head: (response, bytes = nothing) => send(LaneKind.HEAD, undefined, encodePayload(response, bytes)),
      chunk: (bytes) => send(LaneKind.CHUNK, undefined, bytes),
      end: (more) => send(LaneKind.END, report('ok', more), nothing),
      failed: (outcome, more) => send(LaneKind.FAILED, report(outcome, more), nothing),
    };
  }
}

/** Echoes the request: the same body, and the request's description in a header. */
export const echo: FakeHandler = (call) =>
  call.result({ status: 200, headers: [['content-type', 'application/octet-stream']] }, call.body);
