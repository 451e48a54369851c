/**
 * A world of a test's own: a network namespace that stands for everything outside, with hosts of any address in it, and
 * a name server. It belongs to the same user namespace as the launcher's egress. The egress can therefore be joined to
 * it without root, instead of to the machine's network.
 */
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { createSocket, type Socket } from 'node:dgram';
import { type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { NetworkOwner } from '../../../worker/network/owner.ts';
import { encodeAnswer, encodeRecords, parseQuery, RCODE, TYPE_A } from '../../../worker/network/dns-wire.ts';

const HOSTS = fileURLToPath(new URL('world-hosts.ts', import.meta.url));

export class World {
  /** Descriptor of the network namespace. */
  readonly network: number;
  /** Addresses of names; of a list of answers, each question gets the next one, and then the last one again. */
  readonly names = new Map<string, string[][]>();
  /** Data of records other than addresses: by `TYPE NAME`, with the type as a number. */
  readonly records = new Map<string, Buffer>();
  /** Names that were asked for. */
  readonly asked: string[] = [];
  readonly owner: NetworkOwner;
  readonly #hosts: ChildProcess;
  readonly #dns: Socket;

  private constructor(owner: NetworkOwner, network: number, hosts: ChildProcess, dns: Socket) {
    this.owner = owner;
    this.network = network;
    this.#hosts = hosts;
    this.#dns = dns;
    dns.on('message', (message, { address, port }) => {
      dns.send(this.#answer(message), port, address);
    });
  }

  /** `addresses` are the hosts'; on each, every one of `ports` says over TCP and UDP which host it is. */
  static async open(
    launcherPid: number,
    addresses: readonly string[],
    ports: readonly number[],
  ): Promise<World> {
    const owner = await NetworkOwner.open(launcherPid);
    const network = await owner.makeNetwork();
    const lines = addresses
      .filter((address) => address !== '127.0.0.1')
      .map((address) => `addr add ${address}/32 dev lo\n`);
    await owner.run(['ip', '-batch', '-'], { network, input: `link set lo up\n${lines.join('')}` });
    const hosts = owner.spawn([process.execPath, HOSTS, ports.join(), ...addresses], {
      network,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await Promise.race([
      once(hosts.stdout ?? hosts, 'data'),
      once(hosts, 'exit').then(() => Promise.reject(new Error('the hosts of the test ended'))),
    ]);
    const dns = createSocket('udp4').bind(0, '127.0.0.1');
    await once(dns, 'listening');
    return new World(owner, network, hosts, dns);
  }

  get nameServer(): string {
    const { address, port } = this.#dns.address();
    return `${address}:${port}`;
  }

  async close(): Promise<void> {
    this.#dns.close();
    this.#hosts.kill();
    await once(this.#hosts, 'exit');
    closeSync(this.network);
    this.owner.close();
  }

  #answer(message: Buffer): Buffer {
    const query = parseQuery(message);
    if (!query) throw new Error('the resolver sent no question');
    this.asked.push(query.name);
    const record = this.records.get(`${query.type} ${query.name}`);
    if (record) return encodeRecords(query, RCODE.NOERROR, 1, recordOf(query.type, record));
    const answers = this.names.get(query.name);
    if (!answers) return encodeAnswer(query, RCODE.NXDOMAIN);
    if (query.type !== TYPE_A) return encodeAnswer(query, RCODE.NOERROR);
    const [now = []] = answers;
    if (answers.length > 1) answers.shift();
    return encodeAnswer(
      query,
      RCODE.NOERROR,
      now.map((address) => ({ address, ttl: 1 })),
    );
  }
}

/** A record of the question's own name, with its data. */
function recordOf(type: number, data: Buffer): Buffer {
  const head = Buffer.from([
    0xc0,
    12,
    type >> 8,
    type & 0xff,
    0,
    1,
    0,
    0,
    0,
    60,
    data.length >> 8,
    data.length & 0xff,
  ]);
  return Buffer.concat([head, data]);
}
