import { expect, test } from 'vitest';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { functionRows, topLines } from '../../../cli/show/top-view.ts';
import { fakeGateway, json, offshoot } from '../../support/cli.ts';

const NOW = 10_000_000;
const worker = { id: 'w-1', startedAt: NOW, prepared: 4, idle: 2, busy: 1, running: 1, capacity: 64 };

function ended(name: string, changes: object = {}): AnyInvocation {
  return {
    id: 'i',
    namespace: 'default',
    name,
    version: 1,
    lane: 'sync',
    method: 'GET',
    path: '/',
    traceId: '1'.repeat(32),
    spanId: '2'.repeat(16),
    sampled: true,
    startedAt: NOW - 1_000,
    requestBytes: 0,
    state: 'done',
    outcome: 'ok',
    status: 200,
    duration: 10,
    gateway: 0,
    queue: 0,
    responseBytes: 0,
    ...changes,
  };
}

test('top lists functions by rate, with failures, cold starts and times of the window', () => {
  const calls = Array.from({ length: 99 }, () => ended('quick'));
  const rows = functionRows(
    [
      ...calls,
      ended('quick', { outcome: 'timeout', duration: 500 }),
      ended('slow', { state: 'running' }),
      // Earlier than the window: not counted, unless it still runs.
      ended('old', { startedAt: NOW - 70_000 }),
      ended('old-running', { startedAt: NOW - 70_000, state: 'running' }),
    ],
    60_000,
    NOW,
  );
  expect(rows.map((row) => row.function)).toEqual(['default/quick', 'default/slow', 'default/old-running']);
  expect(rows[0]).toMatchObject({ failed: 0.01, p50: 10, p99: 500, running: 0, cold: 0 });
  expect(rows[0]?.perSecond).toBeCloseTo(100 / 60);
  expect(rows[1]).toMatchObject({ running: 1, p99: 0 });
});

test('a screen never exceeds its height, and says how many rows it leaves out', () => {
  const rows = functionRows(
    Array.from({ length: 30 }, (_, index) => ended(`f${index}`)),
    60_000,
    NOW,
  );
  expect(topLines([worker], rows, 10)).toHaveLength(10);
  expect(topLines([worker], rows, 10).at(-1)).toBe('… 25 more');
  expect(topLines([], [], 10)[0]).toContain('no worker');
});

test('top prints one table, or one document, without a terminal [OB6]', async () => {
  const gateway = await fakeGateway();
  gateway.routes.set('GET /api/v1/workers', (_, response) => json(response, 200, { workers: [worker] }));
  gateway.routes.set('GET /api/v1/invocations', (_, response) =>
    json(response, 200, { invocations: [ended('hello', { startedAt: Date.now() })] }),
  );
  const plain = await offshoot(['top'], { env: gateway.env });
  expect(plain).toMatchObject({ code: 0, stderr: '' });
  expect(plain.stdout).toMatch(/w-1 .* 1\/64 +1 +2 +4\n\nFUNCTION[^]*default\/hello +0\.0 +0 %/);
  const document = await offshoot(['top', '--json'], { env: gateway.env });
  expect(JSON.parse(document.stdout)).toMatchObject({
    workers: [{ id: 'w-1' }],
    functions: [{ function: 'default/hello' }],
  });
  const wrong = await offshoot(['top', '--interval', 'often'], { env: gateway.env });
  expect(wrong.code).toBe(2);
});
