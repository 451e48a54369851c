/**
 * The history checker of the queued lane: every acknowledged invocation reaches exactly one end, and a second run of an
 * invocation has its cause on record.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Accepted, InvocationDetail, AnyInvocationDetail } from '#contract/api/api.ts';
import { hasFailed } from '#contract/invocations/retry.ts';
import type { Platform } from '../support/platform/platform.ts';

export type Enqueue = (event: unknown, headers?: Record<string, string>) => Promise<Response>;

/** Queues events of a function; returns the answers unchecked. */
export function enqueuer(platform: Platform, name: string, namespace = 'default'): Enqueue {
  return (event, headers = {}) =>
    fetch(`${platform.url}/api/v1/functions/${namespace}/${name}/invocations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${platform.key}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(event),
    });
}

/** Queues `count` events; resolves to the ids of the acknowledged ones. */
export async function acknowledged(enqueue: Enqueue, count: number, event: unknown): Promise<string[]> {
  const answers = await Promise.allSettled(Array.from({ length: count }, () => enqueue(event)));
  const ids: string[] = [];
  for (const answer of answers) {
    if (answer.status !== 'fulfilled' || answer.value.status !== 202) continue;
    // An answer whose body was cut off is no acknowledgement.
    const accepted = (await answer.value.json().catch(() => undefined)) as Accepted | undefined;
    if (accepted) ids.push(accepted.id);
  }
  return ids;
}

export async function look(platform: Platform, id: string): Promise<AnyInvocationDetail> {
  const response = await platform.api(`/invocations/${id}`);
  assert.equal(response.status, 200, `${id} is not known`);
  return (await response.json()) as AnyInvocationDetail;
}

/** Waits until all have ended, and checks the history of each. */
export async function ended(
  platform: Platform,
  ids: readonly string[],
  patienceMs: number,
): Promise<InvocationDetail[]> {
  const giveUp = performance.now() + patienceMs;
  const records: InvocationDetail[] = [];
  for (const id of ids) records.push(await checkedEnd(platform, id, Math.max(0, giveUp - performance.now())));
  assert.equal(new Set(records.map(({ id }) => id)).size, ids.length);
  return records;
}

/** Waits until one has ended, and checks its history. */
export async function checkedEnd(
  platform: Platform,
  id: string,
  patienceMs: number,
): Promise<InvocationDetail> {
  const giveUp = performance.now() + patienceMs;
  let record = await look(platform, id);
  while (record.state !== 'done') {
    if (performance.now() > giveUp) throw new Error(`${id} has not ended: ${JSON.stringify(record)}`);
    await sleep(50);
    record = await look(platform, id);
  }
  checkHistory(record);
  return record;
}

function checkHistory({ id, attempts = [], logs, dead, terms }: InvocationDetail): void {
  // Each attempt but the last has failed, for a reason on record.
  for (const attempt of attempts.slice(0, -1))
    assert.ok(hasFailed(attempt), `${id} was tried again without a cause: ${JSON.stringify(attempts)}`);
  for (const { outcome } of attempts) assert.notEqual(outcome, undefined, `a try of ${id} has no end`);
  // The function logs a line for each of its runs. A run that was cut short by the death of its worker may have logged
  // none.
  const runs = logs.filter(({ text }) => text === `runs ${id}`).length;
  assert.ok(runs <= attempts.length, `${id} has run ${runs} times in ${attempts.length} tries`);
  if (dead === 'attempts_used') assert.ok(attempts.length >= (terms?.maxAttempts ?? 0), `${id} ended early`);
}
