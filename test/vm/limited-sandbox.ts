/** A sandbox of the bench, with the files of its cgroup as the kernel shows them on version 2. */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { sandboxCgroups } from '../support/sandbox/cgroup-paths.ts';
import type { BenchSandbox } from '../support/sandbox/sandbox-bench.ts';

const POLL_MS = 50;
const UNTIL_MS = 240_000;

export class LimitedSandbox {
  readonly directory: string;
  readonly #bench: BenchSandbox;
  #end: Promise<void> | undefined;

  constructor(bench: BenchSandbox) {
    this.#bench = bench;
    this.directory = `${sandboxCgroups()}/${bench.sandbox.id}`;
  }

  /** Content of one of its files, such as `memory.max`. */
  read(file: string): string {
    return readFileSync(`${this.directory}/${file}`, 'utf8').trim();
  }

  number(file: string): number {
    return Number(this.read(file));
  }

  /** A line of a file of `key value` lines, such as `oom_kill` of `memory.events`. */
  figure(file: string, key: string): number {
    const value = new RegExp(`^${key} (\\d+)$`, 'm').exec(this.read(file))?.[1];
    if (value === undefined) throw new Error(`${file} has no ${key}`);
    return Number(value);
  }

  get exists(): boolean {
    return existsSync(this.directory);
  }

  get pids(): number[] {
    return this.read('cgroup.procs').split('\n').filter(Boolean).map(Number);
  }

  get processes(): number {
    return this.pids.length;
  }

  limit(limits: { memoryMb?: number; cpu?: number; pids?: number }): void {
    const { memoryMb = 128, cpu = 1, pids = 64 } = limits;
    this.#bench.cgroup.setLimits({ memoryBytes: memoryMb * 1024 * 1024, cpu, pids });
  }

  async ask<T>(path: string): Promise<T> {
    return JSON.parse((await this.#bench.call(path)).text) as T;
  }

  /** Starts an action that does not answer; its end is observed from outside. */
  provoke(path: string): void {
    this.#bench.call(path).catch(() => undefined);
  }

  get slot(): number {
    return this.#bench.sandbox.slot;
  }

  get ended(): BenchSandbox['sandbox']['ended'] {
    return this.#bench.sandbox.ended;
  }

  /** Kills it as the worker does at a time limit. */
  kill(): void {
    this.#bench.sandbox.kill();
  }

  /** Ends it as the worker does, and waits until its cgroup is gone. Repeated calls do it once. */
  end(): Promise<void> {
    this.#end ??= this.#bench.end();
    return this.#end;
  }
}

/** The highest value that `look` returns within a time. */
export async function highest(look: () => number, forMs: number): Promise<number> {
  let found = 0;
  for (const end = performance.now() + forMs; performance.now() < end; await sleep(POLL_MS))
    found = Math.max(found, look());
  return found;
}

/** Waits until `look` returns true. */
export async function until(look: () => boolean): Promise<void> {
  for (const end = performance.now() + UNTIL_MS; !look(); await sleep(POLL_MS)) {
    if (performance.now() > end) throw new Error(`in ${UNTIL_MS / 1000} s it never came to: ${String(look)}`);
  }
}
