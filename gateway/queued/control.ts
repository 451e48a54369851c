/** Manages invocations that are in the queued lane or were in it: cancel, replay, result, and the dead letters. */
import type { Readable } from 'node:stream';
import type { Redis } from 'ioredis';
import type { DeadLettersMoved, ReplayRequest } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import type { FunctionRecord, VersionRecord } from '#contract/functions/records.ts';
import type {
  AnyInvocation,
  Canceller,
  GroupOfBatch,
  InvocationRecord,
  OpenInvocation,
} from '#contract/invocations/invocation.ts';
import type { Groups, KeptResult } from '#storage/queued/groups.ts';
import { keys } from '#contract/platform/keys.ts';
import { encodeLaneFrame, LaneKind, type BlobRef } from '#contract/platform/lane.ts';
import { cancelled, purged, redriven } from '#contract/invocations/transitions.ts';
import { decodePayload, encodePayload, jsonMeta, type RequestMeta } from '#contract/wire/payload.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { Retention } from '#storage/queued/retention.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import type { DeadLetter, DeadLetterFilter, DeadLetters } from '#storage/queued/dead-letters.ts';
import { Invocation } from '../dispatch/invocation.ts';
import { targetOf } from '../dispatch/target.ts';
import { Enqueuer, type EnqueuerOptions } from './enqueuer.ts';

/** Upper bounds on the dead letters that one request moves, and on those that it moves in parallel. */
const MOVED_AT_ONCE = 1_000;
const MOVED_TOGETHER = 20;

/** Bodies too large for Redis, in the artifact store (gateway/call/spool.ts). Undefined when the store no longer has one. */
export interface LargeBodies {
  open(body: BlobRef): Promise<Readable | undefined>;
  copy(body: BlobRef): Promise<BlobRef | undefined>;
  remove(body: BlobRef): Promise<void>;
}

export interface QueueControlOptions extends EnqueuerOptions {
  readonly commands: Redis;
  readonly functions: FunctionRepository;
  readonly groups: Groups;
  readonly dead: DeadLetters;
  readonly retention: Retention;
  readonly spool: LargeBodies;
}

export class QueueControl {
  readonly enqueuer: Enqueuer;
  readonly #options: QueueControlOptions;

  constructor(options: QueueControlOptions) {
    this.#options = options;
    this.enqueuer = new Enqueuer(options);
  }

  /** The response of an invocation: its payload, and the body beside it when that is too large for Redis. */
  async result({
    id,
    resultBlob,
    responseBytes,
  }: InvocationRecord): Promise<{ payload: Buffer; body?: Readable } | undefined> {
    const { store, spool } = this.#options;
    const payload = await store.result(id);
    if (!payload || resultBlob === undefined) return payload && { payload };
    const body = await spool.open({ key: resultBlob, bytes: responseBytes });
    return body && { payload, body };
  }

  /** The request payload of an invocation, which only the queued lane keeps. A large body is not in it. */
  async input(id: string): Promise<Buffer | undefined> {
    return await this.#options.store.input(id);
  }

  /**
   * Ends an invocation of either lane. A waiting one ends at once. A running one is killed, and its record ends when it is
   * dead. Throws `already_ended`.
   */
  async cancel(id: string, by: Canceller): Promise<AnyInvocation> {
    const { store, commands, deliveries } = this.#options;
    for (;;) {
      const found = await store.find(id);
      if (!found) throw new OffshootError('invocation_not_found', `there is no invocation ${id}`);
      const { record } = found;
      if (record.state === 'done')
        throw new OffshootError('already_ended', `the invocation has ended as ${record.outcome}`, { id });
      if (record.state === 'running' && record.worker !== undefined) {
        await store.requestCancel(record, by);
        // Its worker checks for the request after it has written the end of the run, so one of the two sees the other's write.
        if ((await store.find(id))?.raw !== found.raw) continue;
        await commands.rpush(keys.control(record.worker), encodeLaneFrame(LaneKind.CANCEL, { id, by }));
        return record;
      }
      if (record.lane === 'sync') {
        throw new OffshootError(
          'conflict',
          'no worker has the call yet; its caller can end it by closing the connection',
        );
      }
      const ended = cancelled(record, sharedNow(), by);
      if (record.batch) await this.#concludeGroup(record.batch, record);
      // Announced before the record ends, as a worker does.
      if (record.callback) await deliveries.add(record);
      if (!(await store.swap(found, ended))) continue;
      await this.#clearAway(ended);
      return ended;
    }
  }

  /** Removes the job of an invocation that was cancelled while it waited, so that it does not fill Redis until it is due. */
  async #clearAway(ended: InvocationRecord): Promise<void> {
    const { dead, queues, retention } = this.#options;
    const { namespace, id, redriven: again } = ended;
    await Promise.all([
      queues.remove(namespace, id, again),
      // The gateway that redrove it may have died before it removed the dead letter.
      again !== undefined && dead.remove(ended),
      retention.endedJob(ended),
    ]).catch(() => undefined); // Redis is unavailable: the job will find an ended record, and both go later
  }

  /** Marks the items of a group as failed. This comes before the end of the record, as in the worker. */
  async #concludeGroup(of: GroupOfBatch, { attempts = [] }: OpenInvocation): Promise<void> {
    const { groups } = this.#options;
    const known = (await groups.open(of))?.known ?? new Map<number, KeptResult>();
    await groups.conclude(of, known, { attempt: attempts.length, final: true, outcome: 'cancelled' });
  }

  /** Queues the same input, or an edited one, as a new invocation. Throws `input_not_found`. */
  async replay(before: AnyInvocation, { version, input }: ReplayRequest): Promise<AnyInvocation> {
    const { store } = this.#options;
    const { namespace, name } = before;
    const { record, version: chosen } = await this.#chosen(namespace, name, version);
    const kept = input === undefined ? await store.input(before.id) : undefined;
    if (input === undefined && !kept) {
      throw new OffshootError(
        'input_not_found',
        'the input of that invocation was not kept: only the queued lane keeps inputs',
        { id: before.id },
      );
    }
    const { meta, body }: { meta: RequestMeta; body: Buffer } = kept
      ? (decodePayload(kept) as { meta: RequestMeta; body: Buffer })
      : { meta: jsonMeta('event'), body: Buffer.from(JSON.stringify(input)) };
    const invocation = new Invocation(
      targetOf(record, chosen),
      { method: meta.method, path: kept ? before.path : '/', traceparent: undefined, tracestate: undefined },
      performance.now(),
    );
    const copied =
      kept && before.inputBlob !== undefined ? await this.#copyInput(before, before.inputBlob) : undefined;
    invocation.requestBytes = copied?.bytes ?? body.length;
    invocation.replayOf = before.id;
    const headers = meta.headers.filter(([header]) => header !== 'traceparent' && header !== 'tracestate');
    headers.push(['traceparent', invocation.traceparent]);
    const payload = encodePayload({ ...meta, headers }, body);
    const options = {
      idempotencyKey: undefined,
      delayMs: 0,
      priority: undefined,
      ttlMs: undefined,
    };
    try {
      return await this.enqueuer.enqueue(invocation, payload, body, options, copied);
    } catch (error) {
      if (copied && error instanceof OffshootError) await this.#options.spool.remove(copied);
      throw error;
    }
  }

  /** Copies the input, because the input of each invocation has its own lifetime. */
  async #copyInput({ id, requestBytes }: AnyInvocation, key: string): Promise<BlobRef> {
    const copied = await this.#options.spool.copy({ key, bytes: requestBytes });
    if (copied) return copied;
    throw new OffshootError('input_not_found', `the input of invocation ${id} no longer exists`, { id });
  }

  async deadLetters(namespace: string, filter: DeadLetterFilter, limit: number): Promise<InvocationRecord[]> {
    const found = await this.#options.dead.list(namespace, filter, limit);
    return found.map(({ record }) => record);
  }

  /**
   * Queues dead letters again, up to MOVED_AT_ONCE in one request, with a full number of attempts. Letters whose function is
   * gone are skipped.
   */
  async redrive(namespace: string, filter: DeadLetterFilter): Promise<DeadLettersMoved> {
    const { store, dead, functions } = this.#options;
    return await this.#move(namespace, filter, async (letter) => {
      const { record, at } = letter;
      if (!record.terms) return undefined;
      if (!(await functions.hold(namespace, record.name, record.version))) return undefined;
      const again = redriven(record, sharedNow());
      // The job comes first: a job without its record does nothing, but a record without a job would wait for ever.
      await this.enqueuer.add(again);
      if (!(await store.swap(letter, again))) return false;
      await dead.remove(record, at);
      return true;
    });
  }

  /** Takes dead letters off the list, up to MOVED_AT_ONCE in one request. Their records stay for their lifetime. */
  async purge(namespace: string, filter: DeadLetterFilter): Promise<DeadLettersMoved> {
    const { store, dead, retention } = this.#options;
    return await this.#move(namespace, filter, async (letter) => {
      const record = purged(letter.record);
      if (!(await store.swap(letter, record))) return false;
      await dead.remove(record, letter.at);
      await retention.endedJob(record);
      return true;
    });
  }

  /**
   * Applies `act` to the chosen letters. `act` resolves to false when the record has changed meanwhile, as by a delivery of its
   * end. It resolves to undefined when there is nothing to do.
   */
  async #move(
    namespace: string,
    filter: DeadLetterFilter,
    act: (letter: DeadLetter) => Promise<boolean | undefined>,
  ): Promise<DeadLettersMoved> {
    // A following request does not move letters that fail again after this time. The list itself gets no default limit, so it
    // finds letters that a worker's clock dated later.
    const { until = sharedNow() } = filter;
    const found = await this.#options.dead.list(namespace, filter, MOVED_AT_ONCE + 1);
    const ids: string[] = [];
    for (let from = 0; from < Math.min(found.length, MOVED_AT_ONCE); from += MOVED_TOGETHER) {
      const some = found.slice(from, Math.min(from + MOVED_TOGETHER, MOVED_AT_ONCE));
      const moved = await Promise.all(some.map((letter) => this.#whileDead(letter, act)));
      ids.push(...some.flatMap(({ record }, at) => (moved[at] === true ? [record.id] : [])));
    }
    // The next request starts at the first letter that was not reached, so letters that cannot be moved do not block older ones.
    const next = found[MOVED_AT_ONCE];
    return { ids, ...(next && { until: Math.min(until, Number(next.at)) }) };
  }

  /** Repeats `act` while the letter is dead and its record changes. Resolves to whether the letter was moved. */
  async #whileDead(
    first: DeadLetter,
    act: (letter: DeadLetter) => Promise<boolean | undefined>,
  ): Promise<boolean> {
    let letter = first;
    for (;;) {
      const done = await act(letter);
      if (done !== false) return done === true;
      const found = await this.#options.store.find(first.record.id);
      if (found?.record.state !== 'done' || found.record.dead === undefined) return false;
      letter = { raw: found.raw, record: found.record, at: first.at };
    }
  }

  /** The function, and the version of this number or else the active one. Throws `function_not_found`. */
  async #chosen(
    namespace: string,
    name: string,
    version?: number,
  ): Promise<{ record: FunctionRecord; version: VersionRecord }> {
    const { functions } = this.#options;
    const found = await functions.find(namespace, name);
    if (!found) throw new OffshootError('function_not_found', `the function "${name}" no longer exists`);
    if (version === undefined) return { record: found.record, version: found.active };
    // Held, so that it is still there when the invocation that names it is.
    const held = await functions.hold(namespace, name, version);
    const chosen = held ? await functions.version(namespace, name, version) : undefined;
    if (!chosen) throw new OffshootError('function_not_found', `"${name}" has no version ${version}`);
    return { record: found.record, version: chosen };
  }
}
