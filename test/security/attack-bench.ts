/** Real sandboxes with attacks in them, canaries around them, and a record of all their output. */
import { execFile } from 'node:child_process';
import { chmod, copyFile, cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Runtime } from '#contract/functions/manifest.ts';
import { type BenchSandbox, SandboxBench, type StartOptions } from '../support/sandbox/sandbox-bench.ts';
import { buildAttacks } from './builds.ts';
import { Canaries } from './canaries.ts';

const run = promisify(execFile);

/** Result of one attempt of an attack, or one fact that it saw. */
export interface Attempt {
  readonly call: string;
  readonly succeeded?: boolean;
  readonly errno?: string;
  readonly value?: string;
  readonly signal?: string;
  readonly core?: boolean;
}

/** A sandbox that holds the attacks. */
export interface Attacker {
  readonly sandbox: BenchSandbox;
  /** The text that a JavaScript attack answers with. */
  text(id: string, ...args: string[]): Promise<string>;
  /** Runs an attack in JavaScript, as the attack program, or as an addon in the function's process. */
  js(id: string, ...args: string[]): Promise<Attempt[]>;
  native(id: string, ...args: string[]): Promise<Attempt[]>;
  addon(id: string, ...args: string[]): Promise<Attempt[]>;
  /** Runs another copy of the attack program, by its path inside. */
  program(file: string, id: string): Promise<Attempt[]>;
  end(): Promise<void>;
}

const attackModules = fileURLToPath(new URL('attacks/', import.meta.url));

export class AttackBench {
  readonly bench: SandboxBench;
  readonly canaries: Canaries;
  /** Whether the host let the set-up give a file capabilities. */
  readonly hasCapabilityFile: boolean;
  readonly #code: string;
  readonly #ownsCanaries: boolean;
  readonly #live = new Set<BenchSandbox>();
  #transcript = '';

  private constructor(
    bench: SandboxBench,
    canaries: Canaries,
    code: string,
    hasCapabilityFile: boolean,
    ownsCanaries: boolean,
  ) {
    this.#ownsCanaries = ownsCanaries;
    this.bench = bench;
    this.canaries = canaries;
    this.#code = code;
    this.hasCapabilityFile = hasCapabilityFile;
  }

  /** `image`: another than the runtime's. `canaries`: those of another bench, which stays their owner. */
  static async open(
    options: { image?: string; runtime?: Runtime; canaries?: Canaries; devices?: string } = {},
  ): Promise<AttackBench> {
    const canaries = options.canaries ?? (await Canaries.plant());
    const bench = await SandboxBench.open(options.runtime, options.image, undefined, options.devices);
    const folder = await mkdtemp(join(tmpdir(), 'offshoot-attacks-'));
    await chmod(folder, 0o755);
    const native = await buildAttacks();
    await cp(attackModules, folder, { recursive: true });
    for (const name of ['attack', 'attack.node']) await copyFile(join(native, name), join(folder, name));
    await writeFile(join(folder, 'program32'), program32(), { mode: 0o755 });
    const code = await bench.addDirectory(folder);
    await rm(folder, { recursive: true });
    // Files whose bits the kernel would honour: the service user owns them, who is root of the launcher's namespace.
    const stored = join(bench.store, code);
    for (const name of ['attack-setuid', 'attack-capable'])
      await copyFile(join(native, 'attack'), join(stored, name));
    await chmod(join(stored, 'attack-setuid'), 0o6755);
    const plant = [join(native, 'attack'), 'plant-capabilities', join(stored, 'attack-capable')];
    const planted = await run('unshare', ['--user', '--map-root-user', ...plant]).catch(() => ({
      stdout: '',
    }));
    const hasCapabilityFile = planted.stdout.includes('"succeeded":true');
    return new AttackBench(bench, canaries, code, hasCapabilityFile, options.canaries === undefined);
  }

  async attacker(options: StartOptions = {}): Promise<Attacker> {
    const sandbox = await this.bench.start(this.#code, false, options);
    this.#live.add(sandbox);
    const ask = async (path: string): Promise<Attempt[]> => {
      const { text } = await sandbox.call(path);
      return JSON.parse(text) as Attempt[];
    };
    return {
      sandbox,
      text: async (id, ...args) => (await sandbox.call(attackPath('js', id, args))).text,
      js: (id, ...args) => ask(attackPath('js', id, args)),
      native: (id, ...args) => ask(attackPath('native', id, args)),
      addon: (id, ...args) => ask(attackPath('addon', id, args)),
      program: (file, id) => ask(`${attackPath('native', id, [])}?file=${encodeURIComponent(file)}`),
      end: () => this.#end(sandbox),
    };
  }

  /** Gives a new attacker to `work` and ends it afterwards. */
  async with<T>(work: (attacker: Attacker) => Promise<T>, options: StartOptions = {}): Promise<T> {
    const attacker = await this.attacker(options);
    try {
      return await work(attacker);
    } finally {
      await attacker.end();
    }
  }

  async #end(sandbox: BenchSandbox): Promise<void> {
    if (!this.#live.delete(sandbox)) return;
    await sandbox.end();
    this.#transcript += sandbox.said();
  }

  /** Ends the live sandboxes; returns the canaries that were ever shown or touched. */
  async breaches(): Promise<string[]> {
    for (const sandbox of this.#live) await this.#end(sandbox);
    const shown = this.canaries.shownIn(this.#transcript).map((name) => `shown: ${name}`);
    this.#transcript = '';
    return [...shown, ...(await this.canaries.hostEffects())];
  }

  async close(): Promise<void> {
    for (const sandbox of this.#live) await this.#end(sandbox);
    await this.bench.close();
    if (this.#ownsCanaries) await this.canaries.remove();
  }
}

function attackPath(way: string, id: string, args: readonly string[]): string {
  const query = args.map((argument) => `a=${encodeURIComponent(argument)}`).join('&');
  return `/${way}/${id}${query ? `?${query}` : ''}`;
}

/** An ELF program for i386 of two instructions and a call: exit(42) by int 0x80. */
function program32(): Buffer {
  const code = Buffer.from('b801000000bb2a000000cd80', 'hex');
  const base = 0x08048000;
  const header = Buffer.alloc(84);
  header.write('\x7fELF\x01\x01\x01', 0, 'latin1');
  header.writeUInt16LE(2, 16); // an executable
  header.writeUInt16LE(3, 18); // i386
  header.writeUInt32LE(1, 20);
  header.writeUInt32LE(base + 84, 24); // entry
  header.writeUInt32LE(52, 28); // program headers
  header.writeUInt16LE(52, 40);
  header.writeUInt16LE(32, 42);
  header.writeUInt16LE(1, 44);
  header.writeUInt32LE(1, 52); // to be loaded, from the start of the file
  header.writeUInt32LE(base, 60);
  header.writeUInt32LE(base, 64);
  header.writeUInt32LE(84 + code.length, 68);
  header.writeUInt32LE(84 + code.length, 72);
  header.writeUInt32LE(5, 76); // read, execute
  header.writeUInt32LE(0x1000, 80);
  return Buffer.concat([header, code]);
}

/** Attempts that succeeded, or were refused with an errno that `errnos` does not list. Facts are not judged here. */
export function notRefused(attempts: readonly Attempt[], ...errnos: string[]): string[] {
  return attempts
    .filter(({ succeeded, signal }) => succeeded !== undefined && signal === undefined)
    .filter(({ succeeded, errno }) => succeeded || !errnos.includes(errno ?? ''))
    .map(
      ({ call, succeeded, errno, value }) => `${call}: ${succeeded ? `succeeded (${value ?? ''})` : errno}`,
    );
}

/** The value of a fact; empty when there is none. */
export function valueOf(attempts: readonly Attempt[], call: string): string {
  return attempts.find((attempt) => attempt.call === call)?.value ?? '';
}

export function valuesOf(attempts: readonly Attempt[], call: string): string[] {
  return attempts.filter((attempt) => attempt.call === call).map(({ value }) => value ?? '');
}

/** Processes of the host that descend from `ancestor`, each with its name. */
export function descendants(ancestor: number): { pid: number; name: string; parent: number }[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const name = /^Name:\t(.*)/.exec(status)?.[1] ?? '';
        return [{ pid: Number(pid), name, parent: Number(/^PPid:\t(\d+)/m.exec(status)?.[1]) }];
      } catch {
        return [];
      }
    });
  const found = new Set([ancestor]);
  for (let before = 0; before !== found.size;) {
    before = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return all.filter(({ pid }) => pid !== ancestor && found.has(pid));
}
