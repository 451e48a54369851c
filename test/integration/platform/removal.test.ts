/** After a function is removed, nothing of it runs and nothing is kept for it. */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Accepted, AnyInvocationDetail, DeadLetters, InvocationDetail } from '#contract/api/api.ts';
import type { ItemResult, ItemsTaken } from '#contract/invocations/batch.ts';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { sandboxCgroups } from '../../support/sandbox/cgroup-paths.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  // No sandbox is prepared, so each one that exists belongs to a function.
  platform = await Platform.start({ OFFSHOOT_PREPARED: '0' });
}, 60_000);
afterAll(() => platform.stop());

function sandboxes(): string[] {
  return readdirSync(sandboxCgroups()).filter((name) => name.startsWith(`${platform.pid('worker')}-`));
}

async function remove(name: string): Promise<void> {
  expect((await platform.api(`/functions/default/${name}`, { method: 'DELETE' })).status).toBe(204);
}

/** Queues an event; resolves to the id of its invocation. */
async function queued(name: string, event: unknown, delay = '0'): Promise<string> {
  const response = await fetch(`${platform.url}/api/v1/functions/default/${name}/invocations`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${platform.key}`,
      'content-type': 'application/json',
      'x-offshoot-delay': delay,
    },
    body: JSON.stringify(event),
  });
  expect(response.status).toBe(202);
  return ((await response.json()) as Accepted).id;
}

async function look(id: string): Promise<AnyInvocationDetail> {
  return (await (await platform.api(`/invocations/${id}`)).json()) as AnyInvocationDetail;
}

async function ended(id: string): Promise<InvocationDetail> {
  for (const giveUp = performance.now() + 10_000; performance.now() < giveUp; await sleep(20)) {
    const found = await look(id);
    if (found.state === 'done') return found;
  }
  throw new Error(`it did not end: ${JSON.stringify(await look(id))}`);
}

async function deadLetters(): Promise<string[]> {
  const { deadLetters: found } = (await (await platform.api('/dead-letters/default')).json()) as DeadLetters;
  return found.map(({ id }) => id);
}

/** Invocations of the namespace, newest first. */
async function list(query: string): Promise<AnyInvocation[]> {
  const response = await platform.api(`/invocations?namespace=default&${query}`);
  return ((await response.json()) as { invocations: AnyInvocation[] }).invocations;
}

/** Runs `act` while the worker is stopped, so that the worker receives all its messages at once. */
async function whileWorkerStands(act: () => Promise<void>): Promise<void> {
  const worker = platform.pid('worker');
  process.kill(worker, 'SIGSTOP');
  try {
    await act();
  } finally {
    process.kill(worker, 'SIGCONT');
  }
}

test('a removed function answers no more, and its sandboxes end [LI4]', async () => {
  await platform.deploy('hello-fetch', { name: 'short-lived' });
  const { report } = await platform.record(await platform.call('short-lived'));
  expect(sandboxes().some((name) => name.endsWith(report?.sandbox ?? '?'))).toBe(true);
  expect((await platform.cli('rm', 'short-lived', '--yes')).code).toBe(0);
  expect((await platform.call('short-lived')).status).toBe(404);
  await expect.poll(sandboxes, { timeout: 5_000 }).toEqual([]);
});

test('a sandbox that is being started for a removed function ends as well', async () => {
  const manifest = { name: 'slow-load', isolation: { mode: 'request' }, env: { LOAD_MS: '1500' } };
  await platform.deploy('faulty', manifest);
  const { report } = await platform.record(await platform.call('slow-load/ok'));
  // With one invocation for each sandbox, the next sandbox is loaded ahead of the next call.
  const next = (): boolean => sandboxes().some((name) => !name.endsWith(report?.sandbox ?? '?'));
  await expect.poll(next, { timeout: 5_000 }).toBe(true);
  await remove('slow-load');
  await expect.poll(sandboxes, { timeout: 5_000 }).toEqual([]);
});

describe('what is queued for a function that is removed', () => {
  test('a queued invocation of a removed function does not run, says why, is no dead letter, and can be replayed [QU20]', async () => {
    await platform.deploy('retries', { name: 'leaving' });
    const id = await queued('leaving', { answer: 1 }, '1');
    await remove('leaving');
    const record = await ended(id);
    expect(record).toMatchObject({ outcome: 'function_removed', status: 404, attempts: [], logs: [] });
    expect(await deadLetters()).toEqual([]);
    const replay = await platform.api(`/invocations/${id}/replay`, { method: 'POST', body: '{}' });
    expect(replay.status).toBe(404);
    await platform.deploy('retries', { name: 'leaving' });
    const again = await platform.api(`/invocations/${id}/replay`, { method: 'POST', body: '{}' });
    expect(await ended(((await again.json()) as Accepted).id)).toMatchObject({ outcome: 'ok', replayOf: id });
    await remove('leaving');
  }, 30_000);

  test('a failed invocation of a removed function is not tried again, and a dead letter stays one', async () => {
    await platform.deploy('retries', { name: 'failing', retries: { attempts: 2, minDelay: 2, maxDelay: 2 } });
    await platform.deploy('retries', { name: 'once', retries: { attempts: 1 } });
    const letter = await queued('once', { fail: 'throw' });
    await ended(letter);
    const id = await queued('failing', { fail: 'busy' });
    // The answer asks for a second until the next attempt.
    await expect.poll(async () => (await look(id)).attempts?.[0]?.outcome, { timeout: 5_000 }).toBe('ok');
    await remove('failing');
    await remove('once');
    const record = await ended(id);
    expect(record.outcome).toBe('function_removed');
    expect(record.attempts).toHaveLength(1);
    const redrive = { method: 'POST', body: JSON.stringify({ ids: [letter] }) };
    expect(await (await platform.api('/dead-letters/default/redrive', redrive)).json()).toEqual({ ids: [] });
    expect(await deadLetters()).toEqual([letter]);
  }, 30_000);

  test('a removed function fails each item of its batches that has not run', async () => {
    await platform.deploy('orders', { name: 'batched' });
    let batch = '';
    await whileWorkerStands(async () => {
      const sent = await fetch(`${platform.url}/api/v1/functions/default/batched/batches`, {
        method: 'POST',
        headers: { authorization: `Bearer ${platform.key}`, 'content-type': 'application/x-ndjson' },
        body: '{"quantity":1}\n'.repeat(120),
      });
      batch = ((await sent.json()) as ItemsTaken).batch.id;
      await remove('batched');
    });
    const text = await (await platform.api(`/batches/${batch}/results?wait=1`)).text();
    const results = text
      .split('\n')
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as ItemResult).outcome);
    expect(results).toEqual(Array(120).fill('function_removed'));
    expect(await (await platform.api(`/batches/${batch}`)).json()).toMatchObject({
      state: 'done',
      failed: 120,
    });
    const letters = await Promise.all((await deadLetters()).map(look));
    expect(letters.filter(({ name }) => name === 'batched')).toEqual([]);
  }, 30_000);

  test('a removed function ends a run of its schedule that waits for its next attempt', async () => {
    await platform.deploy('nightly', {
      name: 'planned',
      timeout: 0.3,
      schedule: { cron: '* * * * * *', input: { takesMs: 5_000 } },
      retries: { attempts: 3, minDelay: 3, maxDelay: 3 },
    });
    const waiting = async (): Promise<string | undefined> =>
      (await list('name=planned&state=queued')).find(({ attempts }) => attempts?.length === 1)?.id;
    await expect.poll(waiting, { timeout: 10_000 }).toBeDefined();
    const id = await waiting();
    await remove('planned');
    expect((await ended(id ?? '')).outcome).toBe('function_removed');
  }, 30_000);
});

test('a waiting call of a removed function is answered that the function is gone', async () => {
  await platform.deploy('hello-fetch', { name: 'waiting' });
  // This worker has never had the function.
  await platform.kill('worker', 'SIGTERM');
  platform.run('worker');
  await platform.ready();
  let call = Promise.resolve(new Response());
  await whileWorkerStands(async () => {
    call = platform.call('waiting');
    await expect
      .poll(async () => (await list('name=waiting&state=queued')).length, { timeout: 5_000 })
      .toBe(1);
    await remove('waiting');
  });
  const answer = await call;
  expect(await answer.json()).toMatchObject({ error: { code: 'function_removed' } });
  expect(answer.status).toBe(404);
}, 30_000);
