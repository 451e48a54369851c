/** Debian's Prometheus and promtool, which infra/test/tools.sh unpacks. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SLOWNESS } from '../faults/slowness.ts';

const START_MS = 15_000 * SLOWNESS;

function program(name: 'prometheus' | 'promtool'): string {
  const unpacked = join(process.env['OFFSHOOT_CACHE'] ?? '/var/cache/offshoot', 'prometheus/usr/bin', name);
  if (existsSync(unpacked)) return unpacked;
  if (existsSync(`/usr/bin/${name}`)) return `/usr/bin/${name}`;
  throw new Error(`${name} is not there; run: bash infra/test/tools.sh`);
}

export interface Said {
  readonly code: number;
  readonly output: string;
}

/** Runs promtool with a text on its input. */
export async function promtool(args: readonly string[], input = ''): Promise<Said> {
  const child = execFile(program('promtool'), args);
  let output = '';
  child.stdout?.on('data', (text: string) => (output += text));
  child.stderr?.on('data', (text: string) => (output += text));
  child.stdin?.end(input);
  const [code] = (await once(child, 'close')) as [number];
  return { code, output };
}

/** A series with its last value. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** An exemplar of a series. */
export interface FoundExemplar {
  readonly series: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: string;
  /** Unix time in seconds. */
  readonly timestamp: number;
}

export class Prometheus {
  readonly #url: string;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(url: string, child: ChildProcess, folder: string) {
    this.#url = url;
    this.#child = child;
    this.#folder = folder;
  }

  static async start(port: number, config: string): Promise<Prometheus> {
    const folder = await mkdtemp(join(tmpdir(), 'offshoot-prometheus-'));
    await writeFile(join(folder, 'prometheus.yml'), config);
    let output = '';
    const child = spawn(
      program('prometheus'),
      [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--enable-feature=exemplar-storage',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    child.stderr.on('data', (text: Buffer) => (output = (output + text.toString()).slice(-20_000)));
    const prometheus = new Prometheus(`http://127.0.0.1:${port}`, child, folder);
    const end = Date.now() + START_MS;
    for (;;) {
      if (
        await fetch(`${prometheus.#url}/-/ready`).then(
          ({ ok }) => ok,
          () => false,
        )
      )
        return prometheus;
      if (Date.now() > end || child.exitCode !== null)
        throw new Error(`prometheus did not start:\n${output}`);
      await sleep(50);
    }
  }

  async query(query: string): Promise<Sample[]> {
    const { data } = (await this.#get(`query?query=${encodeURIComponent(query)}`)) as {
      data: { result: Sample[] };
    };
    return data.result;
  }

  /** Exemplars of the last hour. */
  async exemplars(query: string): Promise<FoundExemplar[]> {
    const now = Date.now() / 1_000;
    const asked = new URLSearchParams({ query, start: String(now - 3_600), end: String(now + 60) });
    const { data } = (await this.#get(`query_exemplars?${asked}`)) as {
      data: { seriesLabels: FoundExemplar['series']; exemplars: Omit<FoundExemplar, 'series'>[] }[];
    };
    return data.flatMap(({ seriesLabels, exemplars }) =>
      exemplars.map((one) => ({ series: seriesLabels, ...one })),
    );
  }

  async rules(): Promise<{ name: string; health: string; lastError?: string }[]> {
    const { data } = (await this.#get('rules')) as {
      data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] };
    };
    return data.groups.flatMap(({ rules }) => rules);
  }

  async #get(path: string): Promise<unknown> {
    const response = await fetch(`${this.#url}/api/v1/${path}`);
    if (!response.ok) throw new Error(await response.text());
    return await response.json();
  }

  async stop(): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await gone;
    await rm(this.#folder, { recursive: true, force: true });
  }
}
