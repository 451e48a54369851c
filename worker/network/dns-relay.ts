/**
 * Relays questions for records other than addresses to a name server of the host, and the answer section back, byte for byte.
 * Such records open nothing in the firewall: an address that a function wants to reach needs a rule and a question of its own.
 */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, isIPv6 } from 'node:net';
import { skipName } from './dns-wire.ts';

/** Record types of RFC 1035, 2782 (SRV), 3403 (NAPTR), 6698 (TLSA), 8659 (CAA) and 9460 (SVCB, HTTPS). */
export const RELAYED_TYPES: ReadonlySet<number> = new Set([2, 5, 6, 12, 15, 16, 33, 35, 52, 64, 65, 257]);

export interface Relayed {
  readonly rcode: number;
  readonly count: number;
  /** The answer section. Its compression pointers hold, since the question before it is the same. */
  readonly answers: Buffer;
}

const HEADER_BYTES = 12;
/** Time limit for one name server; the next one is asked then. */
const TIMEOUT_MS = 2_000;
const ATTEMPTS = 2;
const PORT = 53;
const MAX_MESSAGE_BYTES = 65_535;
/** Extension record that allows answers of 4,096 bytes over UDP, RFC 6891. */
const EXTENSION = Buffer.from([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
const TRUNCATED = 0x0200;

/** Asks the `servers` (`ADDRESS` or `ADDRESS:PORT`) in turn. Rejects when none answers. `question`: a question section. */
export async function relay(question: Buffer, servers: readonly string[]): Promise<Relayed> {
  let failure: unknown = new Error('the host has no name server');
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    for (const server of servers) {
      try {
        return await ask(question, parseServer(server));
      } catch (error) {
        failure = error;
      }
    }
  }
  throw failure;
}

interface Server {
  readonly host: string;
  readonly port: number;
}

function parseServer(server: string): Server {
  const bracketed = /^\[(.+)\]:(\d+)$/.exec(server) ?? (isIPv6(server) ? null : /^(.+):(\d+)$/.exec(server));
  return bracketed ? { host: bracketed[1] ?? '', port: Number(bracketed[2]) } : { host: server, port: PORT };
}

async function ask(question: Buffer, server: Server): Promise<Relayed> {
  const header = Buffer.alloc(HEADER_BYTES);
  // Random, as the port is: a forged answer must guess both.
  header.writeUInt16BE(randomInt(0x10000), 0);
  header.writeUInt16BE(0x0100, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(1, 10);
  const query = Buffer.concat([header, question, EXTENSION]);
  const answer = await askByUdp(query, question, server);
  const whole = (answer.readUInt16BE(2) & TRUNCATED) === 0 ? answer : await askByTcp(query, server);
  return readAnswer(whole, query, question);
}

async function askByUdp(query: Buffer, question: Buffer, { host, port }: Server): Promise<Buffer> {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    // Connected, so that the kernel drops packets of anybody else.
    socket.connect(port, host);
    await once(socket, 'connect', { signal });
    socket.send(query);
    for (;;) {
      const [message] = (await once(socket, 'message', { signal })) as [Buffer];
      if (isAnswer(message, query, question)) return message;
    }
  } finally {
    socket.close();
  }
}

/** Asks again over TCP, where an answer may have 64 KB: two bytes of length stand in front, RFC 1035, section 4.2.2. */
async function askByTcp(query: Buffer, { host, port }: Server): Promise<Buffer> {
  const socket = connect({ host, port, signal: AbortSignal.timeout(TIMEOUT_MS) });
  try {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.write(Buffer.concat([length, query]));
    let got = Buffer.alloc(0);
    for await (const piece of socket) {
      got = Buffer.concat([got, piece as Buffer]);
      if (got.length >= 2 && got.length >= 2 + got.readUInt16BE(0))
        return got.subarray(2, 2 + got.readUInt16BE(0));
      if (got.length > MAX_MESSAGE_BYTES + 2) break;
    }
    throw new Error(`the name server ${host} closed in the middle of its answer`);
  } finally {
    socket.destroy();
  }
}

function isAnswer(message: Buffer, query: Buffer, question: Buffer): boolean {
  return (
    message.length >= HEADER_BYTES + question.length &&
    message.readUInt16BE(0) === query.readUInt16BE(0) &&
    (message.readUInt16BE(2) & 0x8000) !== 0 &&
    message.readUInt16BE(4) === 1 &&
    message.subarray(HEADER_BYTES, HEADER_BYTES + question.length).equals(question)
  );
}

/** Cuts the answer section out. Throws on a message that is no answer to the question, or ends within a record. */
export function readAnswer(message: Buffer, query: Buffer, question: Buffer): Relayed {
  if (!isAnswer(message, query, question)) throw new Error('the name server answered another question');
  const count = message.readUInt16BE(6);
  const begin = HEADER_BYTES + question.length;
  let at = begin;
  for (let left = count; left > 0; left--) {
    // Type, class, time to live, and the length of the data that follows.
    const data = skipName(message, at) + 10;
    if (data > message.length) throw new Error('the answer of the name server ends within a record');
    at = data + message.readUInt16BE(data - 2);
    if (at > message.length) throw new Error('the answer of the name server ends within a record');
  }
  return { rcode: message.readUInt16BE(2) & 0xf, count, answers: Buffer.from(message.subarray(begin, at)) };
}
