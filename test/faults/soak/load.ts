/** Load of a soak: queues jobs and batches, calls functions, and keeps every promise that the platform made. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Accepted } from '#contract/api/api.ts';
import type { ItemsTaken } from '#contract/invocations/batch.ts';
import type { Platform } from '../../support/platform/platform.ts';
import type { Random } from './random.ts';

/** Promises that the platform made to callers, and the answers that they saw. */
export interface Ledger {
  /** Ids of invocations that were accepted with 202. */
  readonly acknowledged: string[];
  readonly refused: Map<number | string, number>;
  /** Batches that were sealed, with their number of items. */
  readonly batches: { id: string; items: number }[];
  calls: number;
  answered: number;
  /** Calls that got the answer of another call. */
  readonly mixedUp: string[];
}

export const newLedger = (): Ledger => ({
  acknowledged: [],
  refused: new Map(),
  batches: [],
  calls: 0,
  answered: 0,
  mixedUp: [],
});

const REQUEST_MS = 40_000;
const BATCH_ITEMS = 500;
const BATCH_PIECE = 100;

function send(platform: Platform, path: string, body: string, headers: Record<string, string> = {}) {
  return fetch(`${platform.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${platform.key}`, 'content-type': 'application/json', ...headers },
    body,
    signal: AbortSignal.timeout(REQUEST_MS),
  });
}

function count(ledger: Ledger, why: number | string): void {
  ledger.refused.set(why, (ledger.refused.get(why) ?? 0) + 1);
}

/** Queues one job of a random kind. */
export async function queueOne(platform: Platform, random: Random, ledger: Ledger): Promise<void> {
  const event = random.one([
    { answer: 1 },
    { sleepMs: Math.floor(random.between(1, 400)) },
    { fail: 'throw', times: 1 },
    { fail: 'throw' },
    { fail: 'exit' },
    { answer: 'x'.repeat(2_000) },
  ]);
  const headers: Record<string, string> =
    random.next() < 0.1 ? { 'x-offshoot-delay': String(random.between(0, 5)) } : {};
  try {
    const answer = await send(
      platform,
      '/api/v1/functions/default/retries/invocations',
      JSON.stringify(event),
      headers,
    );
    const accepted = (await answer.json()) as Accepted;
    if (answer.status === 202) ledger.acknowledged.push(accepted.id);
    else count(ledger, answer.status);
  } catch (error) {
    // The connection broke: the job is not acknowledged, whether Redis has it or not.
    count(ledger, error instanceof Error ? error.name : 'error');
  }
}

/** Calls a function and waits for the answer, which must be its own. */
export async function callOne(platform: Platform, random: Random, ledger: Ledger): Promise<void> {
  const word = `word-${ledger.calls++}-${random.next()}`;
  try {
    const sleepMs = Math.floor(random.between(0, 50));
    const answer = await send(platform, '/fn/default/retries', JSON.stringify({ answer: word, sleepMs }));
    if (answer.status !== 200) return count(ledger, answer.status);
    const { answer: got } = (await answer.json()) as { answer: unknown };
    if (got === word) ledger.answered++;
    else ledger.mixedUp.push(`${word} was answered ${JSON.stringify(got)}`);
  } catch (error) {
    count(ledger, error instanceof Error ? error.name : 'error');
  }
}

/**
 * Fills a batch piece by piece. When a piece gets no answer, the batch is asked how many items it has before the piece
 * is sent again.
 */
export async function fillBatch(platform: Platform, ledger: Ledger, stopping: AbortSignal): Promise<void> {
  const patiently = async <T>(act: () => Promise<T | undefined>): Promise<T | undefined> => {
    while (!stopping.aborted) {
      const done = await act().catch(() => undefined);
      if (done !== undefined) return done;
      await sleep(300);
    }
    return undefined;
  };
  const opened = await patiently(async () => {
    const answer = await send(platform, '/api/v1/functions/default/orders/batches?open=1', '', LINES);
    return answer.status === 202 ? ((await answer.json()) as ItemsTaken) : undefined;
  });
  if (!opened) return;
  const { id } = opened.batch;
  for (let have = 0; have < BATCH_ITEMS && !stopping.aborted;) {
    const from = have;
    const text = Array.from({ length: BATCH_PIECE }, (_, at) => `{"quantity":${from + at}}\n`).join('');
    await send(platform, `/api/v1/batches/${id}/items`, text, LINES).catch(() => undefined);
    // The batch knows how many items it has, also where the answer was lost.
    const now = await patiently(async () => {
      const answer = await platform.api(`/batches/${id}`);
      return answer.status === 200 ? ((await answer.json()) as { items: number }) : undefined;
    });
    have = now?.items ?? have;
    // Only part of a piece arrived: the rest of this batch would be out of step.
    if (have % BATCH_PIECE !== 0) break;
  }
  const sealed = await patiently(async () => {
    const answer = await platform.api(`/batches/${id}/seal`, { method: 'POST' });
    return answer.status === 200 ? ((await answer.json()) as { items: number }) : undefined;
  });
  if (sealed) ledger.batches.push({ id, items: sealed.items });
}
const LINES = { 'content-type': 'application/x-ndjson' };
