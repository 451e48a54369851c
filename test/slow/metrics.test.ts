/** Debian's Prometheus scrapes a running platform, with the rules and the dashboard of infra/monitoring/. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { figureOf } from '../support/platform/metrics.ts';
import { freePort, Platform } from '../support/platform/platform.ts';
import { Prometheus, promtool } from '../support/servers/prometheus.ts';
import { SLOWNESS } from '../support/faults/slowness.ts';

const monitoring = fileURLToPath(new URL('../../infra/monitoring/', import.meta.url));
let platform: Platform;
let workerUrl: string;

beforeAll(async () => {
  const port = await freePort();
  workerUrl = `http://127.0.0.1:${port}/metrics`;
  platform = await Platform.start({ OFFSHOOT_METRICS_PORT: String(port) });
  await platform.deploy('hello-fetch');
  await platform.deploy('faulty');
  await platform.record(await platform.call('hello-fetch'));
  await platform.record(await platform.call('hello-fetch'));
  await platform.record(await platform.call('faulty/throw'));
  await platform.record(await platform.call('faulty/exit'));
  // Its sandbox has ended, so this call starts another.
  await platform.record(await platform.call('faulty/throw'));
  await platform.record(await platform.call('faulty/never'));
  const queued = await platform.api('/functions/default/hello-fetch/invocations', {
    method: 'POST',
    body: '{}',
  });
  const { id } = (await queued.json()) as { id: string };
  const done = async (): Promise<boolean> =>
    ((await (await platform.api(`/invocations/${id}`)).json()) as { state: string }).state === 'done';
  for (let tries = 0; tries < 200 && !(await done()); tries++) await sleep(50);
}, 60_000 * SLOWNESS);
afterAll(async () => {
  await platform?.stop();
});

async function scrape(url: string, key?: string): Promise<{ status: number; text: string; type: string }> {
  const response = await fetch(url, { headers: key ? { authorization: `Bearer ${key}` } : {} });
  return {
    status: response.status,
    text: await response.text(),
    type: response.headers.get('content-type') ?? '',
  };
}

async function makeKey(namespace: string): Promise<string> {
  const body = JSON.stringify({ namespace, scopes: ['read'] });
  const answer = await platform.api('/keys', { method: 'POST', body });
  return ((await answer.json()) as { key: string }).key;
}

/**
 * Prometheus as infra/monitoring/prometheus.yml configures it, except the addresses of this machine and the interval.
 */
async function startPrometheus(): Promise<Prometheus> {
  const key = join(platform.state, 'prometheus-key');
  await writeFile(key, `${await makeKey('*')}\n`);
  const changes = new Map([
    ['127.0.0.1:8787', new URL(platform.url).host],
    ['127.0.0.1:9464', new URL(workerUrl).host],
    ['/etc/prometheus/offshoot-key', key],
    ['alerts.yml', `${monitoring}alerts.yml`],
    ['scrape_interval: 15s', 'scrape_interval: 250ms\n  scrape_timeout: 250ms\n  evaluation_interval: 500ms'],
  ]);
  let config = await readFile(`${monitoring}prometheus.yml`, 'utf8');
  for (const [given, here] of changes) {
    expect(config).toContain(given);
    config = config.replaceAll(given, here);
  }
  return await Prometheus.start(await freePort(), config);
}

describe('metrics', () => {
  test('the gateway shows its metrics to a key of all namespaces, and to no other [OB1]', async () => {
    const url = `${platform.url}/metrics`;
    expect((await scrape(url)).status).toBe(401);
    const refused = await scrape(url, await makeKey('default'));
    expect(refused.status).toBe(403);
    expect(refused.text).toContain('/api/v1/keys');
    const shown = await scrape(url, await makeKey('*'));
    expect(shown.status).toBe(200);
    expect(shown.type).toContain('version=0.0.4');
  });

  test('promtool finds no fault in the text of either process', async () => {
    const gateway = await scrape(`${platform.url}/metrics`, platform.key);
    const worker = await scrape(workerUrl);
    for (const { text } of [gateway, worker]) {
      const { output } = await promtool(['check', 'metrics'], text);
      expect(output.replaceAll(/^.*(non-histogram|abbreviated).*$\n?/gm, '')).toBe('');
    }
    // Control: it does find a fault.
    expect((await promtool(['check', 'metrics'], 'offshoot_x{a="b} 1\n')).code).not.toBe(0);
  });

  test('a call is counted by the gateway that answered it, a queued one by the worker that ended it [OB2]', async () => {
    const of = 'namespace="default",function="hello-fetch"';
    const gateway = (await scrape(`${platform.url}/metrics`, platform.key)).text;
    const worker = (await scrape(workerUrl)).text;
    expect(gateway).toContain(`offshoot_invocations_total{${of},lane="sync",outcome="ok"} 2`);
    expect(gateway).toMatch(/offshoot_invocations_total\{.*"faulty".*outcome="error"\} 2/);
    expect(gateway).toMatch(/offshoot_cold_starts_total\{.*"faulty".*reason="sandbox_ended"\} 1/);
    expect(gateway).not.toContain('lane="queued",outcome');
    expect(worker).toContain(`offshoot_invocations_total{${of},lane="queued",outcome="ok"} 1`);
    expect(gateway).toContain(`offshoot_invocation_duration_seconds_count{${of},lane="sync"} 2`);
    expect(gateway).toMatch(/offshoot_redis_up 1\n/);
    expect(gateway).toMatch(/offshoot_workers 1\n/);
    expect(worker).toMatch(/offshoot_sandboxes\{state="idle"\} [1-9]/);
    expect(worker).toMatch(/offshoot_sandboxes_started_total\{reason="prepared"\} [1-9]/);
    expect(worker).toMatch(/offshoot_sandboxes_ended_total\{reason="exited"\} 1\n/);
    expect(worker).toMatch(/offshoot_sandboxes_ended_total\{reason="timeout"\} 1\n/);
    expect(worker).toMatch(/offshoot_sandbox_fork_seconds_count [1-9]/);
    // A sandbox that has its function loaded takes some megabytes.
    const memory = figureOf(worker, 'offshoot_sandboxes_memory_bytes');
    const limit = figureOf(worker, 'offshoot_sandboxes_memory_limit_bytes');
    expect(memory).toBeGreaterThan(2_000_000);
    expect(limit).toBeGreaterThan(memory);
  });

  test('Prometheus scrapes both, its rules hold, and each query of the dashboard names metrics that exist [OB4, OB12]', async () => {
    const rules = `${monitoring}alerts.yml`;
    const checked = await promtool(['check', 'rules', rules]);
    expect(checked, checked.output).toMatchObject({ code: 0 });
    const prometheus = await startPrometheus();
    try {
      const end = Date.now() + 15_000 * SLOWNESS;
      while ((await prometheus.query('up == 1')).length < 2 && Date.now() < end) await sleep(100);
      expect(await prometheus.query('up == 1')).toHaveLength(2);
      const sum = 'sum by (lane) (offshoot_invocations_total{function="hello-fetch"})';
      const counted = await prometheus.query(sum);
      expect(Object.fromEntries(counted.map(({ metric, value }) => [metric['lane'], value[1]]))).toEqual({
        sync: '2',
        queued: '1',
      });
      while ((await prometheus.rules()).some(({ health }) => health === 'unknown') && Date.now() < end)
        await sleep(100);
      const evaluated = await prometheus.rules();
      expect(evaluated.length).toBeGreaterThan(8);
      expect(evaluated.filter(({ health }) => health !== 'ok')).toEqual([]);

      // A bucket leads to the trace of a real call, and the trace leads to the invocation.
      const bucket = 'offshoot_invocation_duration_seconds_bucket{function="hello-fetch",lane="sync"}';
      while ((await prometheus.exemplars(bucket)).length === 0 && Date.now() < end) await sleep(100);
      const [exemplar] = await prometheus.exemplars(bucket);
      const traced = await platform.api(`/invocations?trace=${exemplar?.labels['trace_id']}`);
      const { invocations } = (await traced.json()) as { invocations: InvocationRecord[] };
      expect(invocations).toMatchObject([
        { name: 'hello-fetch', lane: 'sync', spanId: exemplar?.labels['span_id'] },
      ]);
      expect(Number(exemplar?.value)).toBeCloseTo((invocations[0]?.duration ?? 0) / 1_000, 6);
      const queued = 'offshoot_invocation_queue_seconds_bucket{lane="queued"}';
      expect((await prometheus.exemplars(queued)).map(({ series }) => series['job'])).toEqual([
        'offshoot-worker',
      ]);

      const dashboard = await readFile(`${monitoring}grafana-dashboard.json`, 'utf8');
      const alerts = await readFile(rules, 'utf8');
      // Series that appear only with their first event.
      const later = new Set([
        'offshoot_callbacks_total',
        'offshoot_batch_items_total',
        'offshoot_telemetry_dropped_total',
        'offshoot_log_bytes_cut_total',
      ]);
      const names = new Set(
        `${dashboard}${alerts}`.match(/offshoot_[a-z_]+/g)?.filter((name) => !later.has(name)),
      );
      expect(names.size).toBeGreaterThan(15);
      for (const name of names) expect(await prometheus.query(name), name).not.toEqual([]);
    } finally {
      await prometheus.stop();
    }
  });

  test('while Redis is away, a scrape says so [OB4]', async () => {
    await platform.redis.stop();
    const { text } = await scrape(workerUrl);
    expect(text).toMatch(/offshoot_redis_up 0\n/);
  });
});
