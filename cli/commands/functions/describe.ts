/** offshoot describe NAME: a function, its versions and its latest invocations. */
import type { FunctionDetail, WorkerStatus } from '#contract/api/api.ts';
import { functionUrl, parseFunctionName } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { table } from '../../terminal/terminal.ts';
import { ago, bytes, clock, milliseconds } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

const SHOWN_VERSIONS = 10;

export async function describe(
  context: Context,
  { name: wanted }: Given<typeof verbs.describe>,
): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  const [detail, workers] = await Promise.all([client.describe(namespace, name), client.workers()]);
  const outside = outsideOf(workers, namespace, name);
  terminal.document({ ...detail, ...(outside && { outside }) });
  terminal.print(terminal.style('bold', `${detail.namespace}/${detail.name}`));
  for (const [label, value] of [...facts(detail, client.target.url), ...outsideFacts(outside)]) {
    terminal.print(`  ${label.padEnd(13)} ${value}`);
  }
  const versions = detail.versions.toSorted((a, b) => b.version - a.version).slice(0, SHOWN_VERSIONS);
  section(
    context,
    ['VERSION', 'DEPLOYED', 'SIZE', 'SHA256'],
    versions.map((version) => [
      `${version.version}${version.version === detail.activeVersion ? ' (active)' : ''}`,
      clock(version.createdAt),
      bytes(version.archiveBytes),
      version.digest.slice(0, 12),
    ]),
  );
  section(
    context,
    ['INVOCATION', 'OUTCOME', 'STATUS', 'TIME', 'WHEN'],
    detail.recent.map((recent) => [
      recent.id,
      recent.outcome,
      String(recent.status),
      milliseconds(recent.duration),
      ago(recent.startedAt),
    ]),
  );
  const latest = detail.recent[0];
  const next = latest ? `offshoot trace ${latest.id}` : `offshoot invoke ${wanted}`;
  terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} ${next}`);
}

function facts(detail: FunctionDetail, gatewayUrl: string): [string, string][] {
  const { settings } = detail.active;
  const required = settings.isolation.require;
  return [
    ['url', functionUrl(detail, gatewayUrl)],
    ['access', detail.settings.access],
    ['runtime', settings.runtime],
    ['version', String(detail.activeVersion)],
    ['memory', `${settings.memory} MB`],
    [
      'cpu',
      settings.cpuTime === undefined ? `${settings.cpu}` : `${settings.cpu}, ${settings.cpuTime} s in a run`,
    ],
    [
      'timeout',
      `${settings.timeout} s, ${settings.initTimeout} s to load, ${settings.streamIdleTimeout} s without a byte of a stream`,
    ],
    ['limits', `${settings.pids} processes and threads, ${settings.openFiles} open files`],
    [
      '/tmp',
      `${settings.tmpSize} MB, ${settings.tmpFiles} files${settings.tmpPrograms ? ', programs may run' : ''}`,
    ],
    ['input', `${settings.requestSize} MB in a request`],
    ['output', `${settings.responseSize} MB in a response, ${settings.logSize} KB of logs`],
    ...(required.length > 0 ? [['requires', required.join(', ')] satisfies [string, string]] : []),
    [
      'concurrency',
      settings.isolation.mode === 'request'
        ? 'a sandbox for each invocation'
        : `${settings.concurrency} in a sandbox`,
    ],
    ['env', settings.env.length > 0 ? settings.env.join(', ') : 'none'],
    ['created', clock(detail.createdAt)],
  ];
}

/** Processor time in milliseconds, and ends of sandboxes, that are of no invocation, since the workers' starts. */
interface Outside {
  readonly startCpu: number;
  readonly idleCpu: number;
  readonly endedIdle: number;
  readonly diedIdle: number;
}

/** Undefined when no worker has a sandbox of the function. */
function outsideOf(workers: readonly WorkerStatus[], namespace: string, name: string): Outside | undefined {
  const pools = workers
    .flatMap((worker) => worker.pools ?? [])
    .filter((pool) => pool.namespace === namespace && pool.name === name);
  const sum = (key: keyof Outside): number => pools.reduce((total, pool) => total + (pool[key] ?? 0), 0);
  if (pools.length === 0) return undefined;
  return {
    startCpu: sum('startCpu'),
    idleCpu: sum('idleCpu'),
    endedIdle: sum('endedIdle'),
    diedIdle: sum('diedIdle'),
  };
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

function outsideFacts(outside: Outside | undefined): [string, string][] {
  if (!outside) return [];
  const { startCpu, idleCpu, endedIdle, diedIdle } = outside;
  const ended = endedIdle > 0 ? `; ${endedIdle} sandboxes were ended for it: offshoot logs NAME` : '';
  return [
    ['outside calls', `${seconds(startCpu)} of processor time to start, ${seconds(idleCpu)} idle${ended}`],
    ...(diedIdle > 0
      ? [['ended idle', `${diedIdle} sandboxes by themselves: offshoot logs NAME`] satisfies [string, string]]
      : []),
  ];
}

function section({ terminal }: Context, head: readonly string[], rows: readonly string[][]): void {
  if (rows.length === 0) return;
  const [first = '', ...lines] = table(head, rows);
  terminal.print();
  terminal.print(`  ${terminal.style('bold', first)}`);
  for (const line of lines) terminal.print(`  ${line}`);
}
