/** Reads and writes DNS messages (RFC 1035, section 4), no more of the format than a resolver for IPv4 addresses needs. */

export const RCODE = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3 } as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

const HEADER_BYTES = 12;
const TYPE_A = 1;
const CLASS_IN = 1;
const MAX_LABEL = 63;
const MAX_NAME = 255;
/** Upper bound on answers in a message: that many fit beside the longest name into the 512 bytes of UDP without extensions. */
const MAX_ANSWERS = 12;
const ANSWER_BYTES = 16;

export interface Query {
  readonly id: number;
  /** Lower case, without the last dot. */
  readonly name: string;
  /** True when the query asks for IPv4 addresses; all other questions get no answer here. */
  readonly wantsAddress: boolean;
  /** The question as received, to be copied into the answer. */
  readonly question: Buffer;
  readonly recursionDesired: boolean;
}

export interface Answer {
  readonly address: string;
  readonly ttl: number;
}

/** Parses a message from a sandbox. Returns undefined unless it is one well-formed question. */
export function parseQuery(message: Buffer): Query | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const flags = message.readUInt16BE(2);
  const isQuery = (flags & 0xf800) === 0;
  if (!isQuery || message.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (;;) {
    const length = message[at];
    // A compression pointer (two high bits) has no target in a question.
    if (length === undefined || length > MAX_LABEL || at - HEADER_BYTES > MAX_NAME) return undefined;
    at += 1;
    if (length === 0) break;
    if (at + length > message.length) return undefined;
    labels.push(message.toString('latin1', at, at + length).toLowerCase());
    at += length;
  }
  if (at + 4 > message.length || at - HEADER_BYTES > MAX_NAME) return undefined;
  // A dot inside a label would make two names look the same.
  if (labels.some((label) => !/^[a-z0-9_-]+$/.test(label))) return undefined;
  return {
    id: message.readUInt16BE(0),
    name: labels.join('.'),
    wantsAddress: message.readUInt16BE(at) === TYPE_A && message.readUInt16BE(at + 2) === CLASS_IN,
    question: Buffer.from(message.subarray(HEADER_BYTES, at + 4)),
    recursionDesired: (flags & 0x0100) !== 0,
  };
}

export function encodeAnswer(query: Query, rcode: Rcode, answers: readonly Answer[] = []): Buffer {
  const given = answers.slice(0, MAX_ANSWERS);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(query.id, 0);
  // Response, recursion available.
  header.writeUInt16BE(0x8080 | (query.recursionDesired ? 0x0100 : 0) | rcode, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(given.length, 6);
  const records = given.map(({ address, ttl }) => {
    const record = Buffer.alloc(ANSWER_BYTES);
    // The name is the question's: a pointer to offset 12.
    record.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
    record.writeUInt16BE(TYPE_A, 2);
    record.writeUInt16BE(CLASS_IN, 4);
    record.writeUInt32BE(ttl, 6);
    record.writeUInt16BE(4, 10);
    for (const [index, part] of address.split('.').entries()) record[12 + index] = Number(part);
    return record;
  });
  return Buffer.concat([header, query.question, ...records]);
}
