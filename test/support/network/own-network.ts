/**
 * A network of a test's own, with an address that is not a loopback's, since a machine may have none. It is a network
 * namespace in a user namespace with the same ids as outside, so a worker in it has all its powers.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, connect, type Server } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findRange } from '../../../worker/sandbox/zygote/subids.ts';
import { compileC } from '../sandbox/compile-c.ts';

const ADDRESS = '10.77.0.1';
const HOST = fileURLToPath(new URL('own-network-host.ts', import.meta.url));
const ENTER = new URL('../../security/native/enter.c', import.meta.url);
const SET_UP = `ip link set lo up && ip link add own0 type veth peer name own1 &&
  ip addr add "$1/24" dev own0 && ip link set own0 up && ip link set own1 up && shift && exec "$@"`;

/** Some kernels let only chosen programs make user namespaces with capabilities in them. */
export const CAN_OWN_NETWORK =
  spawnSync('unshare', ['--user', '--map-root-user', '--net', 'true']).status === 0;

export class OwnNetwork {
  /** Address of the host in that network. */
  readonly address = ADDRESS;
  /** Port on which the host says "the host". */
  readonly port: number;
  /** Words to be put before a command that is to run in it. */
  readonly enter: readonly string[];
  readonly #directory: string;
  readonly #host: ChildProcess;
  readonly #forwarder: Server;

  private constructor(directory: string, host: ChildProcess, port: number, forwarder: Server) {
    this.#directory = directory;
    this.#host = host;
    this.#forwarder = forwarder;
    this.port = port;
    this.enter = [join(directory, 'enter'), String(host.pid)];
  }

  /** A connection to the loopback's `port` outside of the network leads to the same port of its loopback. */
  static async open(port: number): Promise<OwnNetwork> {
    const program = await compileC(await readFile(ENTER, 'utf8'));
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-network-'));
    const enter = join(directory, 'enter');
    await writeFile(enter, program);
    await chmod(enter, 0o755);
    const socket = join(directory, 'forward');
    const inside = ['sh', '-c', SET_UP, 'sh', ADDRESS];
    const command = [...inside, process.execPath, HOST, socket, String(port)];
    const host = spawn('unshare', ['--user', '--net', '--keep-caps', ...sameIds(), '--', ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [said] = (await Promise.race([
      once(host.stdout, 'data'),
      once(host, 'exit').then(() => Promise.reject(new Error('the network of the test could not be made'))),
    ])) as [Buffer];
    const forwarder = createServer({ allowHalfOpen: true }, (outside) => {
      const forwarded = connect({ path: socket, allowHalfOpen: true });
      forwarded.on('error', () => outside.destroy());
      outside.on('error', () => forwarded.destroy());
      outside.pipe(forwarded).pipe(outside);
    }).listen(port, '127.0.0.1');
    await once(forwarder, 'listening');
    return new OwnNetwork(directory, host, Number(said.toString()), forwarder);
  }

  async close(): Promise<void> {
    this.#forwarder.close();
    this.#host.stdin?.end();
    if (this.#host.exitCode === null) await once(this.#host, 'exit');
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** This user and its sub-ids keep their numbers there. */
function sameIds(): string[] {
  const { username, uid, gid } = userInfo();
  const range = (file: string): string => {
    const found = findRange(readFileSync(file, 'utf8'), username, uid);
    if (!found) throw new Error(`user ${username} has no range of subordinate ids in ${file}`);
    return `${found.base},${found.base},${found.count}`;
  };
  const [users, groups] = [range('/etc/subuid'), range('/etc/subgid')];
  return [`--map-user=${uid}`, `--map-group=${gid}`, `--map-users=${users}`, `--map-groups=${groups}`];
}
