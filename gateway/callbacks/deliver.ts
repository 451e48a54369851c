/**
 * One turn of a delivery: looks at the record, sends, and writes down what came of it. At least once: a gateway that dies
 * between the receiver's answer and the record leaves a delivery that is begun again, under the same webhook-id.
 *
 * The record decides, as in the queued lane: its `callback` is pending, delivered or failed, and is changed only by comparing
 * it with what was read. A job that comes twice, too early or too late finds there what is left to do.
 */
import { sharedNow } from '#storage/redis/clock.ts';
import { deliveryId, type DeliveryJob } from '#storage/queued/deliveries.ts';
import type { QueuedStore, Versioned } from '#storage/queued/records.ts';
import type { Retention } from '#storage/queued/retention.ts';
import type { Callback, InvocationRecord } from '#contract/invocations/invocation.ts';
import { delivered } from '#contract/invocations/transitions.ts';
import { callbackSpanId, formatTraceparent } from '#contract/invocations/trace.ts';
import { ALWAYS_LARGE_BYTES, callbackBody } from './body.ts';
import { ReceiverRefused, type Guard } from './guard.ts';
import { afterDelivery, type DeliveryTerms, type Tried } from './delivery-retry.ts';
import type { SecretStore } from './secrets.ts';
import { send } from './send.ts';
import { signatureHeaders } from './signature.ts';

/** A job may come this much before its time, by the clocks of two machines. */
const EARLY_MS = 50;
/** How soon an invocation whose end was announced is looked at again when it is not there: as long as it has been missing. */
const LOOK_FIRST_MS = 50;
const LOOK_LAST_MS = 10_000;
const MAX_ERROR_LENGTH = 300;

export interface DeliveryDeps {
  readonly store: QueuedStore;
  readonly retention: Retention;
  readonly secrets: SecretStore;
  readonly guard: Guard;
  readonly terms: DeliveryTerms;
  /** Milliseconds that a receiver has to answer, names included. */
  readonly timeoutMs: number;
  /** As in `offshoot/0.1.0`. */
  readonly version: string;
}

export interface Turn extends DeliveryJob {
  /** Unix time at which the job was added. */
  readonly addedAt: number;
  /** Aborted when the gateway is stopped. */
  readonly stopping: AbortSignal;
}

/** Resolves to the Unix time of the next turn, or undefined when there is nothing left to do. */
export async function deliver(deps: DeliveryDeps, turn: Turn): Promise<number | undefined> {
  const { store, terms } = deps;
  const { id, again } = turn;
  const found = await store.find(id);
  if (!found) return undefined;
  const { record } = found;
  const { callback, redriven = 0 } = record;
  // Taken out of the dead letters since: the end that counts is the next one, which has a delivery of its own.
  if (!callback || again < redriven) return undefined;
  const now = sharedNow();
  // Who announces an end may die before it is written; whoever goes on with the invocation then ends it.
  if (record.state !== 'done' || again > redriven)
    return now + Math.min(LOOK_LAST_MS, Math.max(LOOK_FIRST_MS, now - turn.addedAt));
  if (callback.state !== 'pending') return undefined;
  if (callback.nextAt !== undefined && callback.nextAt > now + EARLY_MS) return callback.nextAt;
  if (callback.attempts >= terms.attempts) {
    const lost: Callback = { ...callback, state: 'failed', lastError: 'the gateway ended at the last try' };
    return (await settle(deps, found, delivered(record, lost))) ? undefined : now;
  }
  // Counted before it is sent, so that one that takes its gateway with it is not tried for ever.
  const begun: Callback = { url: callback.url, state: 'pending', attempts: callback.attempts + 1 };
  const held = await store.swap(found, delivered(record, begun));
  if (!held) return now;
  const tried = await attempt(deps, turn, held.record as InvocationRecord);
  // Not the receiver's fault, so not counted: a gateway that is replaced must not use up tries.
  if (!tried) return await note(deps, held, { ...callback, nextAt: now });
  return await note(deps, held, afterDelivery(begun, tried, terms, sharedNow()));
}

/** Sends it once. Never rejects for a reason that the receiver has a part in. Undefined when the gateway's stop has cut it. */
async function attempt(
  deps: DeliveryDeps,
  { again, stopping }: Turn,
  record: InvocationRecord,
): Promise<Tried | undefined> {
  const { store, secrets, guard, timeoutMs, version } = deps;
  const { current, previous } = await secrets.of(record.namespace);
  const body = await bodyOf(store, record);
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const url = new URL(record.callback?.url ?? '');
    const headers = {
      'content-type': 'application/json',
      'user-agent': `offshoot/${version}`,
      traceparent: formatTraceparent({
        traceId: record.traceId,
        spanId: callbackSpanId(record.spanId, record.callback?.attempts ?? 1),
        sampled: record.sampled,
      }),
      ...(record.tracestate !== undefined && { tracestate: record.tracestate }),
      ...signatureHeaders(deliveryId(record.id, again), Math.floor(Date.now() / 1000), body, [
        current.secret,
        ...previous.map(({ secret }) => secret),
      ]),
    };
    return await send(guard, url, headers, body, AbortSignal.any([timeout, stopping]));
  } catch (error) {
    if (stopping.aborted) return undefined;
    if (timeout.aborted) return { error: `the receiver did not answer within ${timeoutMs} ms`, final: false };
    const message = error instanceof Error ? error.message : String(error);
    return { error: message.slice(0, MAX_ERROR_LENGTH), final: error instanceof ReceiverRefused };
  }
}

async function bodyOf(store: QueuedStore, record: InvocationRecord): Promise<Buffer> {
  const { id, responseBytes } = record;
  // Megabytes are not fetched, try after try, to be left out.
  if (responseBytes > ALWAYS_LARGE_BYTES)
    return callbackBody(record, (await store.hasResult(id)) ? 'large' : undefined);
  return callbackBody(record, await store.result(id));
}

/** Writes what came of a try, whatever else has changed in the record meanwhile. Resolves to the time of the next one. */
async function note(deps: DeliveryDeps, held: Versioned, callback: Callback): Promise<number | undefined> {
  const { store } = deps;
  const { id, redriven, callback: begun } = held.record;
  for (let before: Versioned | undefined = held; before; before = await store.find(id)) {
    const { record } = before;
    const { callback: now } = record;
    // Overtaken by a redrive, or by the success of another gateway that took this one for dead.
    if (record.state !== 'done' || record.redriven !== redriven || now?.state !== 'pending') return undefined;
    // Another one's try is under way. What it will say counts, but that the receiver has it is so already.
    const overtaken = now.attempts !== begun?.attempts;
    if (overtaken && callback.state !== 'delivered') return undefined;
    const noted = overtaken ? { ...callback, attempts: now.attempts } : callback;
    if (await settle(deps, before, delivered(record, noted))) return noted.nextAt;
  }
  return undefined;
}

/** Writes a record whose end may have been told for the last time. False when it has changed meanwhile. */
async function settle(
  { store, retention }: DeliveryDeps,
  before: Versioned,
  record: InvocationRecord,
): Promise<boolean> {
  if (!(await store.swap(before, record))) return false;
  await retention.endedJob(record).catch(() => undefined); // Redis is away: the record goes with time
  return true;
}
