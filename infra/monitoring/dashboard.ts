/** Writes grafana-dashboard.json, so that queries are kept as lines and not as pages: node infra/monitoring/dashboard.ts */
import { writeFileSync } from 'node:fs';

const source = { type: 'prometheus', uid: '${source}' };
type Panel = [title: string, unit: string, targets: (readonly [query: string, legend: string])[]];
const panels: Panel[] = [
  [
    'Invocations a second, by outcome',
    'reqps',
    [
      [
        'sum by (outcome) (rate(offshoot_invocations_total{namespace=~"$namespace"}[$__rate_interval]))',
        '{{outcome}}',
      ],
    ],
  ],
  [
    'Failures by function',
    'reqps',
    [
      [
        'topk(10, sum by (namespace, function) (rate(offshoot_invocations_total{outcome!="ok",namespace=~"$namespace"}[$__rate_interval])))',
        '{{namespace}}/{{function}}',
      ],
    ],
  ],
  [
    'Duration',
    's',
    [0.5, 0.9, 0.99].map((q): [string, string] => [
      `histogram_quantile(${q}, sum by (le) (rate(offshoot_invocation_duration_seconds_bucket{namespace=~"$namespace"}[$__rate_interval])))`,
      `p${q * 100}`,
    ]),
  ],
  [
    'Wait for a worker, by lane (p99)',
    's',
    [
      [
        'histogram_quantile(0.99, sum by (le, lane) (rate(offshoot_invocation_queue_seconds_bucket{namespace=~"$namespace"}[$__rate_interval])))',
        '{{lane}}',
      ],
    ],
  ],
  [
    'Cold starts a second, by reason',
    'reqps',
    [
      [
        'sum by (reason, kind) (rate(offshoot_cold_starts_total{namespace=~"$namespace"}[$__rate_interval]))',
        '{{reason}} ({{kind}})',
      ],
    ],
  ],
  [
    'Wait for a sandbox (p99)',
    's',
    [
      [
        'histogram_quantile(0.99, sum by (le, kind) (rate(offshoot_invocation_acquire_seconds_bucket{namespace=~"$namespace"}[$__rate_interval])))',
        '{{kind}}',
      ],
    ],
  ],
  [
    'Sandboxes, by state',
    'short',
    [
      ['sum by (state) (offshoot_sandboxes)', '{{state}}'],
      ['sum(offshoot_sandboxes_ceiling)', 'ceiling'],
    ],
  ],
  [
    'Sandboxes started and ended a second',
    'ops',
    [
      ['sum by (reason) (rate(offshoot_sandboxes_started_total[$__rate_interval]))', 'started: {{reason}}'],
      ['sum by (reason) (rate(offshoot_sandboxes_ended_total[$__rate_interval]))', 'ended: {{reason}}'],
      ['sum(rate(offshoot_zygotes_started_total[$__rate_interval]))', 'zygotes'],
    ],
  ],
  [
    'Time of a fork',
    's',
    [0.5, 0.99].map((q): [string, string] => [
      `histogram_quantile(${q}, sum by (le) (rate(offshoot_sandbox_fork_seconds_bucket[$__rate_interval])))`,
      `p${q * 100}`,
    ]),
  ],
  [
    'Memory of all sandboxes',
    'bytes',
    [
      ['offshoot_sandboxes_memory_bytes', '{{instance}}'],
      ['offshoot_sandboxes_memory_limit_bytes', 'limit {{instance}}'],
    ],
  ],
  [
    'Queues',
    'short',
    [
      [
        'max by (namespace, lane, state) (offshoot_queue_length{namespace=~"$namespace"})',
        '{{namespace}} {{lane}} {{state}}',
      ],
    ],
  ],
  [
    'Dead letters',
    'short',
    [['max by (namespace) (offshoot_dead_letters{namespace=~"$namespace"})', '{{namespace}}']],
  ],
  [
    'Oldest job that waits, and oldest dead letter',
    's',
    [
      ['max by (namespace) (offshoot_queue_oldest_seconds{namespace=~"$namespace"})', '{{namespace}} waits'],
      [
        'max by (namespace) (offshoot_dead_letter_oldest_seconds{namespace=~"$namespace"})',
        '{{namespace}} dead letter',
      ],
    ],
  ],
  [
    'Open batches, and their items',
    'short',
    [
      [
        'max by (namespace, state) (offshoot_open_batches{namespace=~"$namespace"})',
        '{{namespace}} {{state}}',
      ],
      [
        'max by (namespace, state) (offshoot_open_batch_items{namespace=~"$namespace"})',
        '{{namespace}} items {{state}}',
      ],
    ],
  ],
  [
    'Attempts of the queued lane a second',
    'reqps',
    [
      [
        'sum by (outcome) (rate(offshoot_attempts_total{namespace=~"$namespace"}[$__rate_interval]))',
        '{{outcome}}',
      ],
    ],
  ],
  [
    'Callbacks and items of batches a second',
    'reqps',
    [
      [
        'sum by (result) (rate(offshoot_callbacks_total{namespace=~"$namespace"}[$__rate_interval]))',
        'callbacks {{result}}',
      ],
      [
        'sum by (outcome) (rate(offshoot_batch_items_total{namespace=~"$namespace"}[$__rate_interval]))',
        'items {{outcome}}',
      ],
    ],
  ],
  [
    'Memory',
    'bytes',
    [
      ['offshoot_process_memory_bytes', '{{job}} {{instance}}'],
      ['max(offshoot_redis_memory_bytes)', 'Redis'],
      ['offshoot_host_memory_free_bytes', 'free {{instance}}'],
    ],
  ],
  [
    'Dropped a second: records, telemetry; bytes of logs that were cut',
    'short',
    [
      ['sum(rate(offshoot_records_dropped_total[$__rate_interval]))', 'records'],
      ['sum(rate(offshoot_log_lines_lost_total[$__rate_interval]))', 'lines of logs'],
      ['sum by (signal) (rate(offshoot_telemetry_dropped_total[$__rate_interval]))', '{{signal}}'],
      ['sum(rate(offshoot_log_bytes_cut_total{namespace=~"$namespace"}[$__rate_interval]))', 'bytes of logs'],
    ],
  ],
  ['Redis, round trip', 's', [['offshoot_redis_ping_seconds', '{{job}} {{instance}}']]],
];
const dashboard = {
  title: 'Offshoot',
  uid: 'offshoot',
  schemaVersion: 39,
  refresh: '10s',
  time: { from: 'now-1h', to: 'now' },
  templating: {
    list: [
      { name: 'source', type: 'datasource', query: 'prometheus' },
      {
        name: 'namespace',
        type: 'query',
        datasource: source,
        query: 'label_values(offshoot_invocations_total, namespace)',
        includeAll: true,
        multi: true,
        refresh: 2,
        current: { text: 'All', value: '$__all' },
        allValue: '.*',
      },
    ],
  },
  panels: panels.map(([title, unit, targets], index) => ({
    id: index + 1,
    title,
    type: 'timeseries',
    datasource: source,
    gridPos: { h: 8, w: 12, x: (index % 2) * 12, y: Math.floor(index / 2) * 8 },
    fieldConfig: { defaults: { unit }, overrides: [] },
    // Where Prometheus keeps exemplars, a dot on a graph leads to its trace.
    targets: targets.map(([expr, legendFormat], at) => ({
      refId: 'ABCDEF'[at],
      datasource: source,
      expr,
      legendFormat,
      ...(expr.includes('_seconds_bucket') && { exemplar: true }),
    })),
  })),
};
writeFileSync(
  new URL('grafana-dashboard.json', import.meta.url),
  `${JSON.stringify(dashboard, undefined, 2)}\n`,
);
