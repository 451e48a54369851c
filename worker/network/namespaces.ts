/**
 * Processes in the Linux namespaces of a launcher, and network namespaces made there. An ordinary user may do all this,
 * because the launcher's user namespace is this user's own: who made a user namespace is powerful in it.
 *
 * The programs (ip, nft, slirp4netns) are the host's: only user and network namespace are entered, not the image.
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';

/** What a failed program may say of itself in an error. */
const MAX_SAID = 2_000;

export interface Enter {
  /** Descriptor of the network namespace; without one, the process stays in the worker's. */
  readonly network?: number | undefined;
  readonly stdio?: StdioOptions;
  readonly input?: string;
}

/** The user namespace of a launcher; every namespace that belongs to it is entered or made through this. */
export class LauncherNamespace {
  readonly #user: number;

  private constructor(user: number) {
    this.#user = user;
  }

  /** `launcher`: process id of a launcher whose zygote is running. */
  static of(launcher: number): LauncherNamespace {
    // Its only child is init, whose only child is the zygote. Init itself has changed its ids and not executed
    // anything since, and what it is made of is then root's, proc(5).
    const zygote = onlyChild(onlyChild(launcher));
    return new LauncherNamespace(openSync(`/proc/${zygote}/ns/user`, 'r'));
  }

  close(): void {
    closeSync(this.#user);
  }

  spawn(command: readonly string[], { network, stdio = ['pipe', 'pipe', 'pipe'] }: Enter = {}): ChildProcess {
    const own = `/proc/${process.pid}/fd`;
    const namespaces = [
      `--user=${own}/${this.#user}`,
      ...(network === undefined ? [] : [`--net=${own}/${network}`]),
    ];
    // The credentials stay: this user's id is root there already.
    return spawn('nsenter', [...namespaces, '--preserve-credentials', '--', ...command], {
      stdio,
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    });
  }

  /** Runs a program to its end and gives what it wrote. Throws with what it said when it fails. */
  async run(command: readonly string[], enter: Enter = {}): Promise<string> {
    const child = this.spawn(command, enter);
    let output = '';
    let said = '';
    child.stdout?.on('data', (text: Buffer) => {
      output += text.toString();
    });
    child.stderr?.on('data', (text: Buffer) => {
      if (said.length < MAX_SAID) said += text.toString();
    });
    // A program that ends without reading is told apart by its exit code, not by the broken pipe.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(enter.input ?? '');
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0)
      throw new Error(`${command.join(' ')} ended with ${code}: ${said.trim().slice(0, MAX_SAID)}`);
    return output;
  }

  /**
   * Makes a network namespace and hands it to `use` while a process is in it. The namespace lives on as long as somebody
   * holds the descriptor that this gives.
   */
  async make(use?: (holder: number) => void): Promise<number> {
    const holder = this.spawn(['unshare', '--net', 'cat']);
    const ended = once(holder, 'close');
    try {
      // What comes back says that the namespace has been made.
      holder.stdin?.write('.');
      await Promise.race([
        once(holder.stdout ?? holder, 'data'),
        ended.then(() => Promise.reject(new Error('a network namespace could not be made'))),
      ]);
      const { pid = 0 } = holder;
      use?.(pid);
      return openSync(`/proc/${pid}/ns/net`, 'r');
    } finally {
      holder.stdin?.end();
      await ended;
    }
  }
}

function onlyChild(pid: number): number {
  const [child, ...others] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  if (!child || others.length > 0) throw new Error(`process ${pid} is not a launcher with its zygote`);
  return Number(child);
}
