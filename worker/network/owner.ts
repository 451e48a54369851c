/**
 * Makes the user namespace that owns a launcher's egress, and runs programs in it. It is a child of the launcher's user namespace
 * with a single id, a sub-id that nothing else uses. So the processes that connect sandboxes to the network have power over
 * network namespaces only. They have none over the launcher's namespace, and on the host they are an unknown user, not the
 * worker's.
 *
 *   host (worker) > launcher's: 0 is the worker's user, 1000.. are sandboxes > owner's: 0 is id 1 of the launcher's
 *
 * An ordinary user may make and enter it: the creator of a user namespace has all power in it and in its children. Sandboxes can
 * join network namespaces that belong to it, because they are root of the namespace above until they change identity.
 *
 * The programs (ip, nft, slirp4netns) are the host's: they enter only the user and network namespace, not the image.
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';

/** Upper bound on the characters of a failed program's output in an error. */
const MAX_SAID = 2_000;
/** Id in the launcher's user namespace: not 0, which is the worker's user, and below the sandboxes' ids. */
const OWNER_ID = 1;

export interface Enter {
  /** Descriptor of the network namespace; the default is the worker's own. */
  readonly network?: number | undefined;
  readonly stdio?: StdioOptions;
  readonly input?: string;
  /**
   * Stay the worker's user, who may read the checkout, instead of becoming root of the namespace. Such a process loses all power
   * when it executes its program.
   */
  readonly asWorker?: boolean;
}

export class NetworkOwner {
  readonly #user: number;

  private constructor(user: number) {
    this.#user = user;
  }

  /** `launcher`: process id of a launcher whose zygote is running. */
  static async open(launcher: number): Promise<NetworkOwner> {
    // The launcher's only child is init, whose only child is the zygote. Init has changed its ids and not executed a program
    // since, so the files of its /proc directory belong to root, proc(5).
    const zygote = onlyChild(onlyChild(launcher));
    const above = new NetworkOwner(openSync(`/proc/${zygote}/ns/user`, 'r'));
    try {
      return new NetworkOwner(await above.#makeChild());
    } finally {
      above.close();
    }
  }

  close(): void {
    closeSync(this.#user);
  }

  spawn(
    command: readonly string[],
    { network, stdio = ['pipe', 'pipe', 'pipe'], asWorker = false }: Enter = {},
  ): ChildProcess {
    const own = `/proc/${process.pid}/fd`;
    const namespaces = [
      `--user=${own}/${this.#user}`,
      ...(network === undefined ? [] : [`--net=${own}/${network}`]),
      ...(asWorker ? ['--preserve-credentials'] : ['--setuid=0', '--setgid=0']),
    ];
    return spawn('nsenter', [...namespaces, '--', ...command], {
      stdio,
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    });
  }

  /** Runs a program to its end and returns its output. Throws an error with the program's messages when it fails. */
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
    // The exit code tells of a program that ended without reading; ignore the broken pipe.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(enter.input ?? '');
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0)
      throw new Error(`${command.join(' ')} ended with ${code}: ${said.trim().slice(0, MAX_SAID)}`);
    return output;
  }

  /**
   * Makes a network namespace and passes its process to `use` while one is in it. The namespace lives as long as the returned
   * descriptor is open.
   */
  makeNetwork(use?: (holder: number) => void): Promise<number> {
    return this.#held(['unshare', '--net', 'cat'], {}, (holder) => {
      use?.(holder);
      return openSync(`/proc/${holder}/ns/net`, 'r');
    });
  }

  #makeChild(): Promise<number> {
    return this.#held(['unshare', '--user', 'cat'], { asWorker: true }, async (holder) => {
      // Written from the parent namespace, with privileges there: only so may an id be mapped that is not the writer's own,
      // user_namespaces(7).
      for (const map of ['gid_map', 'uid_map'])
        await this.run(['tee', `/proc/${holder}/${map}`], { asWorker: true, input: `0 ${OWNER_ID} 1` });
      return openSync(`/proc/${holder}/ns/user`, 'r');
    });
  }

  /** Runs a command that makes a namespace and then copies its input; ends the command after `use`. */
  async #held<T>(
    command: readonly string[],
    enter: Enter,
    use: (holder: number) => T | Promise<T>,
  ): Promise<T> {
    const holder = this.spawn(command, enter);
    const ended = once(holder, 'close');
    let said = '';
    holder.stderr?.on('data', (text: Buffer) => {
      said += text.toString();
    });
    holder.stdin?.on('error', () => undefined);
    try {
      // The echo proves that the namespace has been made.
      holder.stdin?.write('.');
      await Promise.race([
        once(holder.stdout ?? holder, 'data'),
        ended.then(() => Promise.reject(new Error(`${command.join(' ')} failed: ${said.trim()}`))),
      ]);
      return await use(holder.pid ?? 0);
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
