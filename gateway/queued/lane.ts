/** What the gateway does with invocations of the queued lane, beside taking them: cancel, replay, and the dead letters. */
import type { Readable } from 'node:stream';
import type { Redis } from 'ioredis';
import type { ReplayRequest, VersionRecord } from '#contract/api.ts';
import { OffshootError } from '#contract/errors.ts';
import type { AnyInvocation, GroupOfBatch, InvocationRecord, OpenInvocation } from '#contract/invocation.ts';
import type { Groups, KeptResult } from '#storage/groups.ts';
import { keys } from '#contract/keys.ts';
import { encodeLaneFrame, LaneKind, type BlobRef } from '#contract/lane.ts';
import { OUTCOMES } from '#contract/outcome.ts';
import { decodePayload, encodePayload, type RequestMeta } from '#contract/payload.ts';
import type { Versioned } from '#storage/queued.ts';
import { sharedNow } from '#storage/clock.ts';
import { Invocation } from '../invocation.ts';
import { FUNCTION_PREFIX } from '../request.ts';
import type { Spool } from '../spool.ts';
import type { FunctionStore } from '../store/functions.ts';
import { targetOf } from '../target.ts';
import { Enqueuer, type EnqueuerOptions } from './enqueuer.ts';

export interface QueuedLaneOptions extends EnqueuerOptions {
  readonly commands: Redis;
  readonly functions: FunctionStore;
  readonly groups: Groups;
  readonly spool: Spool;
}

export class QueuedLane {
  readonly enqueuer: Enqueuer;
  readonly #options: QueuedLaneOptions;

  constructor(options: QueuedLaneOptions) {
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

  /** The request payload of an invocation, where it was kept: that of the queued lane is. A large body is not in it. */
  async input(id: string): Promise<Buffer | undefined> {
    return await this.#options.store.input(id);
  }

  /**
   * Ends an invocation of either lane. One that waits is done at once; one that runs is killed, and its record says so when
   * it is dead. Throws `already_ended`.
   */
  async cancel(id: string): Promise<AnyInvocation> {
    const { store, commands, deliveries } = this.#options;
    for (;;) {
      const found = await store.find(id);
      if (!found) throw new OffshootError('invocation_not_found', `there is no invocation ${id}`);
      const { record } = found;
      if (record.state === 'done')
        throw new OffshootError('already_ended', `the invocation has ended as ${record.outcome}`);
      if (record.state === 'running' && record.worker !== undefined) {
        await store.requestCancel(id);
        await commands.rpush(keys.control(record.worker), encodeLaneFrame(LaneKind.CANCEL, { id }));
        return record;
      }
      if (record.lane === 'sync') {
        throw new OffshootError(
          'conflict',
          'no worker has the call yet; who made it can end it by going away',
        );
      }
      const ended = cancelledRecord(record);
      if (record.batch) await this.#concludeGroup(record.batch, record);
      // Before the record says so, as with a worker's ends.
      if (record.callback) await deliveries.add(record);
      // Its job finds a record that has ended, and does nothing.
      if (await store.swap(found, ended)) return ended;
    }
  }

  /** Its items have failed: before the record says so, as the worker does it. */
  async #concludeGroup(of: GroupOfBatch, { attempts = [] }: OpenInvocation): Promise<void> {
    const { groups } = this.#options;
    const known = (await groups.open(of))?.known ?? new Map<number, KeptResult>();
    await groups.conclude(of, known, { attempt: attempts.length, final: true, outcome: 'cancelled' });
  }

  /** Queues the same input again, or an edited one, as an invocation of its own. Throws `input_not_found`. */
  async replay(before: AnyInvocation, { version, input }: ReplayRequest): Promise<AnyInvocation> {
    const { functions, store } = this.#options;
    const { namespace, name } = before;
    const chosen = await this.#version(functions, namespace, name, version);
    const kept = input === undefined ? await store.input(before.id) : undefined;
    if (input === undefined && !kept) {
      throw new OffshootError(
        'input_not_found',
        'the input of that invocation was not kept: only that of the queued lane is',
      );
    }
    const { meta, body }: { meta: RequestMeta; body: Buffer } = kept
      ? (decodePayload(kept) as { meta: RequestMeta; body: Buffer })
      : { meta: eventMeta(namespace, name), body: Buffer.from(JSON.stringify(input)) };
    const invocation = new Invocation(
      targetOf(namespace, name, chosen),
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

  /** A copy, because each invocation's input is kept for its own time. */
  async #copyInput({ id, requestBytes }: AnyInvocation, key: string): Promise<BlobRef> {
    const copied = await this.#options.spool.copy({ key, bytes: requestBytes });
    if (copied) return copied;
    throw new OffshootError('input_not_found', `the input of invocation ${id} is not there any more`);
  }

  async deadLetters(namespace: string, limit: number): Promise<InvocationRecord[]> {
    const found = await this.#options.store.dead(namespace, limit);
    return found.map(({ record }) => record as InvocationRecord);
  }

  /** Queues dead letters again, with all their tries before them. Resolves to the ids of those that were. */
  async redrive(
    namespace: string,
    wanted: (record: InvocationRecord) => boolean,
    limit: number,
  ): Promise<string[]> {
    const { store } = this.#options;
    const moved: string[] = [];
    for (const one of await store.dead(namespace, limit)) {
      await this.#whileDead(one, async (letter, record) => {
        if (!wanted(record) || !record.terms) return true;
        const again = redrivenRecord(record);
        // The job first: without its record it does nothing, and a record without a job would wait for ever.
        await this.enqueuer.add(again);
        if (!(await store.swap(letter, again))) return false;
        moved.push(record.id);
        return true;
      });
    }
    return moved;
  }

  /** Takes dead letters off the list; their records stay for their time. */
  async purge(
    namespace: string,
    wanted: (record: InvocationRecord) => boolean,
    limit: number,
  ): Promise<string[]> {
    const { store } = this.#options;
    const gone: string[] = [];
    for (const one of await store.dead(namespace, limit)) {
      await this.#whileDead(one, async (letter, ended) => {
        const { dead: _, ...record } = ended;
        if (!wanted(record)) return true;
        if (!(await store.swap(letter, record))) return false;
        await store.removeDead(namespace, record.id);
        gone.push(record.id);
        return true;
      });
    }
    return gone;
  }

  /** Does something to a dead letter, again where its record has changed meanwhile, as deliveries of its end do. */
  async #whileDead(
    first: Versioned,
    act: (letter: Versioned, record: InvocationRecord) => Promise<boolean>,
  ): Promise<void> {
    for (let one: Versioned | undefined = first; one; one = await this.#options.store.find(first.record.id)) {
      const { record } = one;
      if (record.state !== 'done' || record.dead === undefined || (await act(one, record))) return;
    }
  }

  async #version(
    functions: FunctionStore,
    namespace: string,
    name: string,
    version?: number,
  ): Promise<VersionRecord> {
    const found =
      version === undefined
        ? (await functions.find(namespace, name))?.active
        : await functions.version(namespace, name, version);
    if (found) return found;
    throw new OffshootError(
      'function_not_found',
      version === undefined
        ? `the function "${name}" is not there any more`
        : `"${name}" has no version ${version}`,
    );
  }
}

export function eventMeta(namespace: string, name: string): RequestMeta {
  return {
    kind: 'event',
    method: 'POST',
    url: `http://localhost${FUNCTION_PREFIX}${namespace}/${name}`,
    headers: [['content-type', 'application/json']],
  };
}

function cancelledRecord(record: OpenInvocation): InvocationRecord {
  const { worker: _worker, dueAt: _dueAt, ...identity } = record;
  const waited = sharedNow() - record.startedAt;
  return {
    ...identity,
    state: 'done',
    outcome: 'cancelled',
    status: OUTCOMES.cancelled.status,
    duration: waited,
    gateway: 0,
    queue: waited,
    responseBytes: 0,
    message: 'it was cancelled before it ran',
  };
}

function redrivenRecord(record: InvocationRecord): OpenInvocation {
  const {
    outcome: _o,
    status: _s,
    duration: _d,
    gateway: _g,
    queue: _q,
    responseBytes: _b,
    ...rest
  } = record;
  const { report: _r, message: _m, dead: _dead, resultBlob: _blob, ...identity } = rest;
  const terms = record.terms && {
    ...record.terms,
    // As many tries as it had, and as much time.
    maxAttempts: (record.attempts?.length ?? 0) + Math.max(1, record.terms.maxAttempts),
    expiresAt: sharedNow() + Math.max(0, record.terms.expiresAt - record.startedAt),
  };
  return {
    ...identity,
    state: 'queued',
    ...(terms && { terms }),
    redriven: (record.redriven ?? 0) + 1,
    // It ends once more, which is told once more.
    ...(record.callback && { callback: { url: record.callback.url, state: 'pending', attempts: 0 } }),
  };
}
