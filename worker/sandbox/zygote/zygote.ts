/**
 * Starts one launcher with its zygote, and talks to it as a child process over a control socket (contract/wire/control.ts).
 * Sandboxes are forked and killed through it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { z } from 'zod';
import {
  CONTROL_BYTES,
  CONTROL_VERSION,
  ControlKind,
  FIRST_SANDBOX_UID,
  putControl,
  readControl,
  type Control,
} from '#contract/wire/control.ts';
import { log } from '../../process/log.ts';
import { LAUNCHER, native } from '../../native/addon.ts';
import type { IdRange } from './subids.ts';

export interface ZygoteOptions {
  /** Root of the runtime image. */
  readonly image: string;
  /** Directory of the code of one namespace. */
  readonly store: string;
  readonly uid: IdRange;
  readonly gid: IdRange;
  /** Directory of sets of device files; the default is the one that the set-up makes. */
  readonly devices?: string;
  /** Called at the end of each of its sandboxes, while the zygote lives. */
  readonly onExit?: (exit: Exit) => void;
}

/** The way a sandbox ended. */
export interface Exit {
  /** Exit code, or undefined when a signal ended it. */
  readonly code: number | undefined;
  /** Name of the signal, such as SIGSEGV. */
  readonly signal: string | undefined;
  /** Set when the zygote has ended, and the sandbox with it. */
  readonly zygoteLost?: true;
}

/** Directory that infra/host/privileged.sh has made for launchers; each launcher uses one set of devices at a time. */
const DEVICE_SETS = '/dev/offshoot';

/** Of two names for one number the first wins: SIGABRT, not SIGIOT. */
const signalNames = new Map(
  Object.entries(constants.signals)
    .toReversed()
    .map(([name, number]) => [number, name]),
);

/** Returns `SIGSEGV`, or `signal 35` for a number without a name. */
export function signalName(number: number): string {
  return signalNames.get(number) ?? `signal ${number}`;
}

export class Zygote {
  readonly startedAt = Date.now();
  /** Number of sandboxes forked until now; a zygote is replaced after a limit. */
  forks = 0;
  /** True when another zygote has taken over; this one ends with its last sandbox. */
  retired = false;
  /** Settles when the zygote is warm; rejects when it ended before. */
  readonly ready: Promise<void>;
  /** Settles when the launcher has ended. */
  readonly ended: Promise<void>;
  /** Digest of the image's content, from the image itself; empty when the image has none. */
  readonly imageDigest: string;
  readonly #process: ChildProcess;
  readonly #control: Socket;
  readonly #controlFd: number;
  readonly #sandboxes = new Map<number, (exit: Exit) => void>();
  #buffer: Buffer = Buffer.alloc(0);
  #alive = true;
  #onReady: () => void = () => undefined;
  readonly #onExit: (exit: Exit) => void;
  #onRefused: (error: Error) => void = () => undefined;

  constructor(options: ZygoteOptions) {
    this.#onExit = options.onExit ?? (() => undefined);
    const image = resolveImage(options.image);
    this.imageDigest = image.digest;
    mkdirSync(options.store, { recursive: true });
    const [own, theirs] = native.socketpair();
    const ids = [options.uid, options.gid].flatMap((range) => [String(range.base), String(range.count)]);
    this.#process = spawn(
      LAUNCHER,
      [image.root, options.store, options.devices ?? DEVICE_SETS, ...ids, '--', ...image.program],
      {
        stdio: ['ignore', 'pipe', 'pipe', theirs],
        env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin' },
      },
    );
    closeSync(theirs);
    this.#controlFd = own;
    this.#control = new Socket({ fd: own, readable: true, writable: true });
    this.#control.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#control.on('error', (error) => log.warn({ error }, 'zygote: control socket'));
    this.ready = new Promise((resolve, reject) => {
      this.#onReady = resolve;
      this.#onRefused = reject;
      this.#process.once('error', reject);
      this.#process.once('exit', (code, signal) =>
        reject(new Error(`zygote ended before it was warm: ${code ?? signal}`)),
      );
    });
    // Callers that await `ready` handle its rejection. At the end none may be waiting, so mark the rejection as handled.
    this.ready.catch(() => undefined);
    this.ended = new Promise((resolve) => {
      this.#process.once('exit', () => {
        this.#end();
        resolve();
      });
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.on('data', (text: Buffer) => log.warn({ text: text.toString().trimEnd() }, 'zygote'));
    }
  }

  /** Process id of the launcher. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** The control socket closes a moment before the launcher's exit is known; another file may then have its descriptor number. */
  get #usable(): boolean {
    return this.#alive && !this.#control.destroyed;
  }

  get live(): number {
    return this.#sandboxes.size;
  }

  /**
   * Forks a sandbox. `fds` are the ends for the sandbox, in the order of contract/wire/control.ts; the caller closes its copies.
   * `onExit` is called once, when the sandbox has been reaped.
   */
  fork(slot: number, scratchMb: number, fds: readonly number[], onExit: (exit: Exit) => void): void {
    if (!this.#usable) throw new Error('the zygote has ended');
    this.forks++;
    this.#sandboxes.set(slot, onExit);
    native.sendWithDescriptors(
      this.#controlFd,
      encode(ControlKind.FORK, slot, FIRST_SANDBOX_UID + slot, scratchMb),
      fds,
    );
  }

  /** Ends a sandbox by SIGKILL to its PID 1; its onExit reports the end. */
  kill(slot: number): void {
    if (this.#usable && this.#sandboxes.has(slot)) {
      native.sendWithDescriptors(this.#controlFd, encode(ControlKind.KILL, slot, 0, 0), []);
    }
  }

  /** Ends the zygote and all its sandboxes. */
  async stop(): Promise<void> {
    this.#control.destroy();
    this.#process.kill('SIGKILL');
    await this.ended;
  }

  #read(chunk: Buffer): void {
    let bytes = this.#buffer.length > 0 ? Buffer.concat([this.#buffer, chunk]) : chunk;
    for (; bytes.length >= CONTROL_BYTES; bytes = bytes.subarray(CONTROL_BYTES)) {
      const message = readControl(bytes.subarray(0, CONTROL_BYTES));
      if (message) this.#handle(message);
    }
    this.#buffer = bytes;
  }

  #handle({ kind, slot, a }: Control): void {
    if (kind === ControlKind.HELLO) {
      // The image may be of another checkout, for example. Awaiting `ready` rejects; the worker itself goes on.
      if (a === CONTROL_VERSION) return this.#onReady();
      this.#onRefused(new Error(`zygote speaks version ${a}, worker ${CONTROL_VERSION}; run: npm run setup`));
      this.#process.kill('SIGKILL');
    } else if (kind === ControlKind.EXITED) {
      const exit = decodeStatus(a);
      this.#onExit(exit);
      this.#exited(slot, exit);
    } else if (kind === ControlKind.FORK_FAILED) {
      log.error({ slot, errno: a }, 'zygote: fork failed');
      this.#exited(slot, { code: 70, signal: undefined });
    }
  }

  #exited(slot: number, exit: Exit): void {
    const onExit = this.#sandboxes.get(slot);
    this.#sandboxes.delete(slot);
    onExit?.(exit);
  }

  #end(): void {
    this.#alive = false;
    this.#control.destroy();
    for (const slot of this.#sandboxes.keys()) {
      this.#exited(slot, { code: undefined, signal: 'SIGKILL', zygoteLost: true });
    }
  }
}

/** Description of an image within itself. */
const IMAGE_FACTS = '/opt/offshoot/image.json';
const ImageFacts = z.object({
  digest: z.string(),
  /** Program of the zygote and its arguments. */
  program: z.tuple([z.string().startsWith('/')], z.string()),
});
type ImageFacts = z.infer<typeof ImageFacts>;

/** Resolves the image's name once, since the link may change a moment later. A missing image is the launcher's to report. */
function resolveImage(name: string): ImageFacts & { root: string } {
  try {
    const root = realpathSync(name);
    const facts: unknown = JSON.parse(readFileSync(root + IMAGE_FACTS, 'utf8'));
    return { root, ...ImageFacts.parse(facts) };
  } catch (error) {
    log.warn({ error, name }, `${name}${IMAGE_FACTS} could not be read; run: npm run setup`);
    // The launcher cannot execute it, and so names what is missing: the image, or this file in it.
    return { root: name, digest: '', program: [IMAGE_FACTS] };
  }
}

/** Decodes a status of wait(2): the low seven bits are the signal, the next byte is the exit code. */
function decodeStatus(status: number): Exit {
  const signal = status & 0x7f;
  if (signal === 0) return { code: (status >> 8) & 0xff, signal: undefined };
  return { code: undefined, signal: signalName(signal) };
}

function encode(kind: number, slot: number, a: number, b: number): Buffer {
  return Buffer.concat(putControl({ kind, slot, a, b, c: 0n, d: 0n }));
}

/** Describes an exit for the record and the trace: `exit code 3`, `signal SIGSEGV`. */
export function describeExit(exit: Exit): string {
  if (exit.zygoteLost) return 'its zygote ended';
  if (exit.signal === undefined) return `exit code ${exit.code}`;
  // The filter kills a process for this reason only.
  return exit.signal === 'SIGSYS'
    ? 'signal SIGSYS (a system call of a foreign architecture)'
    : `signal ${exit.signal}`;
}
