/**
 * Runs one turn of a delivery: reads the record, sends, and writes down the result. Delivery is at least once: a gateway that
 * dies between the receiver's answer and the record leaves a delivery that begins again, under the same webhook-id.
 *
 * The record decides, as in the queued lane: its `callback` is pending, delivered or failed, and changes only by compare-and-set.
 * A job that comes twice, too early or too late does only the work that the record leaves open.
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

/** Upper bound on how early a job may come, because the clocks of two machines differ. */
const EARLY_MS = 50;
/** Bounds on the wait before an announced end is looked for again; between them, it is the time for which the end is missing. */
const LOOK_FIRST_MS = 50;
const LOOK_LAST_MS = 10_000;
const MAX_ERROR_LENGTH = 300;

export interface DeliveryDeps {
  readonly store: QueuedStore;
  readonly retention: Retention;
  readonly secrets: SecretStore;
  readonly guard: Guard;
  readonly terms: DeliveryTerms;
  /** Time limit in milliseconds for the answer of a receiver, name resolution included. */
  readonly timeoutMs: number;
  /** Version of the platform, for the user agent `offshoot/0.1.0`. */
  readonly version: string;
}

export interface Turn extends DeliveryJob {
  /** Unix time at which the job was added. */
  readonly addedAt: number;
  /** Aborted when the gateway stops. */
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
  // The invocation was redriven since. Only its next end counts, and that has a delivery of its own.
  if (!callback || again < redriven) return undefined;
  const now = sharedNow();
  // A process may announce an end and die before it writes it. The process that continues the invocation then ends it.
  if (record.state !== 'done' || again > redriven)
    return now + Math.min(LOOK_LAST_MS, Math.max(LOOK_FIRST_MS, now - turn.addedAt));
  if (callback.state !== 'pending') return undefined;
  if (callback.nextAt !== undefined && callback.nextAt > now + EARLY_MS) return callback.nextAt;
  if (callback.attempts >= terms.attempts) {
    const lost: Callback = { ...callback, state: 'failed', lastError: 'the gateway ended at the last try' };
    return (await settle(deps, found, delivered(record, lost))) ? undefined : now;
  }
  // The attempt is counted before it is sent, so that a delivery that crashes its gateway is not retried for ever.
  const begun: Callback = { url: callback.url, state: 'pending', attempts: callback.attempts + 1 };
  const held = await store.swap(found, delivered(record, begun));
  if (!held) return now;
  const tried = await attempt(deps, turn, held.record as InvocationRecord);
  // The gateway's stop is not the receiver's fault, so it does not use up an attempt.
  if (!tried) return await note(deps, held, { ...callback, nextAt: now });
  return await note(deps, held, afterDelivery(begun, tried, terms, sharedNow()));
}

/** Sends the delivery once. Never rejects because of the receiver. Undefined when the gateway's stop has aborted it. */
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
  // A result that is too large to be sent along is not fetched, megabytes for each attempt.
  if (responseBytes > ALWAYS_LARGE_BYTES)
    return callbackBody(record, (await store.hasResult(id)) ? 'large' : undefined);
  return callbackBody(record, await store.result(id));
}

/** Writes the result of an attempt, even if other parts of the record have changed. Resolves to the time of the next attempt. */
async function note(deps: DeliveryDeps, held: Versioned, callback: Callback): Promise<number | undefined> {
  const { store } = deps;
  const { id, redriven, callback: begun } = held.record;
  for (let before: Versioned | undefined = held; before; before = await store.find(id)) {
    const { record } = before;
    const { callback: now } = record;
    // A redrive overtook this attempt, or another gateway, which took this one for dead, has settled the delivery.
    if (record.state !== 'done' || record.redriven !== redriven || now?.state !== 'pending') return undefined;
    // Another gateway's attempt is under way, and its result will count. But a success of this one is recorded now.
    const overtaken = now.attempts !== begun?.attempts;
    if (overtaken && callback.state !== 'delivered') return undefined;
    const noted = overtaken ? { ...callback, attempts: now.attempts } : callback;
    if (await settle(deps, before, delivered(record, noted))) return noted.nextAt;
  }
  return undefined;
}

/** Writes the record after an attempt, which may have been the last one. False when it has changed meanwhile. */
async function settle(
  { store, retention }: DeliveryDeps,
  before: Versioned,
  record: InvocationRecord,
): Promise<boolean> {
  if (!(await store.swap(before, record))) return false;
  await retention.endedJob(record).catch(() => undefined); // Redis is unavailable: the record goes by its TTL
  return true;
}
