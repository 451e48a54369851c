/** Frames in an order that no honest sandbox sends: the sandbox ends, and its caller and its record learn that at once. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AnyInvocationDetail } from '#contract/api/api.ts';
import { Platform } from '../../support/platform/platform.ts';
import { deployAttack } from './platform.ts';

const TIMEOUT_S = 20;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('hello-fetch', { name: 'honest' });
  await deployAttack(platform, 'raw-frames', { timeout: TIMEOUT_S });
}, 90_000);
afterAll(() => platform.stop());

async function recordOf(id: string): Promise<AnyInvocationDetail> {
  return (await (await platform.api(`/invocations/${id}`)).json()) as AnyInvocationDetail;
}

/** Runs of the worker, by its own report, which is some tenths of a second old. */
async function running(): Promise<number | undefined> {
  const { workers } = (await (await platform.api('/workers')).json()) as { workers: { running: number }[] };
  return workers[0]?.running;
}

test.each([
  // The invocation would be released without an answer, and without its time limit.
  ['the end of a run that has no answer', 'settled-first', 502],
  // The caller has the head of a stream already.
  ['a whole answer after the head of another one', 'head-then-result', 200],
])(
  'D7 frame-order: %s ends the sandbox at once, and nothing is left of the run [CA15]',
  async (_, path, status) => {
    const started = performance.now();
    const response = await platform.call(`raw-frames/${path}`, {
      signal: AbortSignal.timeout(TIMEOUT_S * 1_000),
    });
    expect(response.status).toBe(status);
    const text = response.text();
    if (status === 200) await expect(text).rejects.toThrow();
    else await text;
    // Long before the time limit of the function.
    expect(performance.now() - started).toBeLessThan((TIMEOUT_S / 2) * 1_000);
    const id = response.headers.get('x-offshoot-invocation') ?? '';
    await expect
      .poll(() => recordOf(id), { timeout: 5_000 })
      .toMatchObject({ state: 'done', outcome: 'crashed' });
    await expect.poll(running, { timeout: 5_000 }).toBe(0);
    expect((await platform.call('honest')).status).toBe(200);
    expect((await platform.call('raw-frames/ok')).status).toBe(200);
  },
);
