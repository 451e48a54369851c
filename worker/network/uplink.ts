/**
 * Runs slirp4netns, which carries packets from an egress namespace on as connections of an ordinary process of the host. It is
 * restarted when it dies.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { log } from '../process/log.ts';
import type { NetworkOwner } from './owner.ts';
import { UPLINK, UPLINK_RANGE } from './ruleset.ts';

export interface UplinkOptions {
  readonly owner: NetworkOwner;
  /** Descriptor of the egress namespace. */
  readonly namespace: number;
  /** Network namespace of the host's sockets; the worker's own by default. For tests. */
  readonly hostNetwork?: number | undefined;
}

/** Delay before a replacement is started; it doubles from the first value up to the second. */
const FIRST_RESTART_MS = 100;
const LAST_RESTART_MS = 5_000;
const MAX_SAID = 1_000;

/** Upper bound on its descriptors: one per connection and a few of its own. Their memory is charged to no sandbox. */
const UPLINK_FILES = 1_024;
/** Upper bound on its own memory, with the buffers of all connections; a process that needs more dies and is replaced. */
const UPLINK_BYTES = 512 * 1024 * 1024;

const COMMAND = [
  'prlimit',
  `--nofile=${UPLINK_FILES}`,
  `--as=${UPLINK_BYTES}`,
  '--core=0',
  '--',
  'slirp4netns',
  '--configure',
  '--mtu=65520',
  `--cidr=${UPLINK_RANGE}`,
  // Neither 127.0.0.1 of the host nor its name server is reachable through slirp4netns's own addresses.
  '--disable-host-loopback',
  '--disable-dns',
  // It reads tenants' packets, so it gets an empty root, no capabilities and fewer system calls.
  '--enable-sandbox',
  '--enable-seccomp',
  '--ready-fd=3',
  // Ends with the worker, however the worker ends.
  '--exit-fd=4',
  '--netns-type=path',
  '/proc/self/fd/5',
  UPLINK,
];

export class Uplink {
  readonly #options: UplinkOptions;
  #process: ChildProcess | undefined;
  #closed = false;

  private constructor(options: UplinkOptions) {
    this.#options = options;
  }

  /** Settles when packets can pass. */
  static async open(options: UplinkOptions): Promise<Uplink> {
    const uplink = new Uplink(options);
    await uplink.#start();
    return uplink;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  close(): void {
    this.#closed = true;
    this.#process?.kill('SIGKILL');
  }

  async #start(): Promise<void> {
    const { owner, namespace, hostNetwork } = this.#options;
    const child = owner.spawn(COMMAND, {
      network: hostNetwork,
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', namespace],
    });
    this.#process = child;
    let said = '';
    child.stderr?.on('data', (text: Buffer) => {
      said = (said + text.toString()).slice(-MAX_SAID);
    });
    for (const stream of child.stdio) stream?.on('error', () => undefined);
    const ended = once(child, 'exit');
    await Promise.race([
      once(child.stdio[3] ?? child, 'data'),
      ended.then(() => Promise.reject(new Error(`slirp4netns ended before it was ready: ${said.trim()}`))),
    ]);
    void ended.then(() => this.#replace(said));
  }

  async #replace(said: string): Promise<void> {
    if (this.#closed) return;
    log.error({ said: said.trim() }, 'network: slirp4netns ended; starting another');
    for (let pause = FIRST_RESTART_MS; ; pause = Math.min(2 * pause, LAST_RESTART_MS)) {
      await sleep(pause);
      if (this.#closed) return;
      try {
        return await this.#start();
      } catch (error) {
        log.error({ error }, 'network: slirp4netns could not be started');
      }
    }
  }
}
