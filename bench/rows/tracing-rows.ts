/**
 * Cost of tracing: the same calls to platforms that export no traces, those that the default settings keep, and all of
 * them. Each has a Redis of its own. They take turns, each round in another order, since the order matters more than
 * tracing does. Calls a second drift with the machine; the processor time of a call hardly does, so both are shown.
 */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startRedis } from '../../infra/platform/redis.ts';
import { startServing } from '../measure/children.ts';
import { answersOk, freePort, loadHttp, type LoadResult } from '../measure/http-load.ts';
import { figureOf, type Standing } from '../measure/interleave.ts';
import { startOwnPlatform } from '../measure/own-platform.ts';
import type { Run } from '../measure/run.ts';
import { HELLO } from './sandbox-rows.ts';
import { compared, figure, quantile, type Section } from '../measure/stats.ts';

const AT_ONCE = 64;
/** Short turns, many of them: neighbours in time are compared. */
const TURN_SECONDS = 2;
const TURNS_PER_LOAD_TURN = 4;
const RECEIVER = fileURLToPath(new URL('../peers/otlp-receiver.ts', import.meta.url));
/** Clock ticks of /proc/PID/stat in a second, on every Linux that Node runs on. */
const TICKS = 100;

const OFF = 'traces are not exported';
const ON = 'exported, as the settings are';
const ALL = 'exported, every one';

interface Turn extends LoadResult {
  /** Microseconds of processor time, of gateway and worker together. */
  readonly cpuPerCall: number;
}

export async function tracingSections(run: Run): Promise<Section[]> {
  const turns = Math.max(2, run.counts.loadTurns * TURNS_PER_LOAD_TURN);
  const stops: (() => Promise<unknown>)[] = [];
  const takers: { readonly row: string; readonly turn: () => Promise<Turn> }[] = [];
  try {
    const port = await freePort();
    const collector = `http://127.0.0.1:${port}`;
    const receiver = await startServing([process.execPath, RECEIVER, String(port)], () =>
      answersOk(collector),
    );
    stops.push(receiver.stop);
    const add = async (row: string, settings: Readonly<Record<string, string>>): Promise<void> => {
      const temporary = join(run.temporary, `platform-${takers.length}`);
      await mkdir(temporary);
      const redis = await startRedis({ dir: join(temporary, 'redis') });
      stops.push(() => redis.stop());
      const platform = await startOwnPlatform({ ...run, temporary }, redis.url, settings);
      stops.push(platform.stop);
      const url = await platform.deploy('hello', HELLO);
      const turn = async (): Promise<Turn> => {
        const before = cpuOf(platform.pids);
        const load = await loadHttp(url, { atOnce: AT_ONCE, seconds: TURN_SECONDS }, run.stopping);
        return { ...load, cpuPerCall: ((cpuOf(platform.pids) - before) / load.calls) * 1e6 };
      };
      takers.push({ row, turn });
    };
    const on = { OTEL_EXPORTER_OTLP_ENDPOINT: collector };
    await add(OFF, {});
    await add(ON, on);
    await add(ALL, { ...on, OFFSHOOT_TRACE_PER_SECOND: '1000000' });
    const standings = await inTurns(takers, turns, run.stopping);
    const received = (await (await fetch(collector)).json()) as { requests: number; bytes: number };
    const common = { name: 'tracing' };
    const perSecond = (of: readonly Turn[], row: string) =>
      figure(
        row,
        'per second',
        of.map((one) => one.perSecond),
      );
    const cpu = (of: readonly Turn[], row: string) =>
      figure(
        row,
        'µs',
        of.map((one) => one.cpuPerCall),
      );
    return [
      {
        ...common,
        title: `Tracing on and off, ${AT_ONCE} at a time: calls a second`,
        figures: compared(standings.map((one) => figureOf(one, 'per second', perSecond))),
        notes: [
          `medians of ${turns} turns of ${TURN_SECONDS} s`,
          costNote(standings, (one) => 1 / one.perSecond),
          `the collector was sent ${received.requests} requests, ${Math.round(received.bytes / 1e6)} MB`,
        ],
      },
      {
        ...common,
        title: 'The same turns: processor time of gateway and worker for a call',
        figures: compared(standings.map((one) => figureOf(one, 'µs', cpu))),
        notes: [costNote(standings, (one) => one.cpuPerCall)],
      },
    ];
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

/** Runs `turns` turns of each, forwards and backwards; those of the first round are for warming up. */
async function inTurns(
  takers: readonly { readonly row: string; readonly turn: () => Promise<Turn> }[],
  turns: number,
  stopping: AbortSignal,
): Promise<Standing<Turn>[]> {
  const results = new Map<string, Turn[]>(takers.map(({ row }) => [row, []]));
  for (let round = 0; round <= turns; round++) {
    for (const { row, turn } of round % 2 === 0 ? takers : takers.toReversed()) {
      stopping.throwIfAborted();
      const result = await turn();
      if (round > 0) results.get(row)?.push(result);
    }
  }
  return takers.map(({ row }) => ({ row, results: results.get(row) ?? [] }));
}

/** Compares each turn with tracing to the one without tracing of the same round. */
function costNote(standings: readonly Standing<Turn>[], costOf: (turn: Turn) => number): string {
  const results = (row: string): readonly Turn[] => standings.find((one) => one.row === row)?.results ?? [];
  const off = results(OFF);
  const shown = [ON, ALL].map((row) => {
    const ratios = results(row).flatMap((turn, at) => {
      const beside = off[at];
      return beside ? [costOf(turn) / costOf(beside)] : [];
    });
    return `${row}: ${((quantile(ratios, 0.5) - 1) * 100).toFixed(1)} %`;
  });
  return `what it costs, median of the turns side by side: ${shown.join('; ')}`;
}

/** Seconds of processor that processes have used. */
function cpuOf(pids: Readonly<Record<string, number>>): number {
  const ticks = Object.values(pids).map((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the program, in parentheses, may have spaces; user and system time are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, one) => sum + one, 0) / TICKS;
}
