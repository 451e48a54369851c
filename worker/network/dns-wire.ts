/** Reads and writes DNS messages (RFC 1035, section 4), no more of the format than the resolver needs. */

export const RCODE = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3 } as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

const HEADER_BYTES = 12;
export const TYPE_A = 1;
export const TYPE_AAAA = 28;
const TYPE_OPT = 41;
const CLASS_IN = 1;
const MAX_LABEL = 63;
const MAX_NAME = 255;
/** Upper bound on answers in a message: that many fit beside the longest name into the 512 bytes of UDP without extensions. */
const MAX_ANSWERS = 12;
const ANSWER_BYTES = 16;
/** Bounds on the bytes of an answer: what UDP carries without extensions, and the largest that is sent in one packet. */
const MIN_MESSAGE = 512;
const MAX_MESSAGE = 4_096;
const TRUNCATED = 0x0200;

export interface Query {
  readonly id: number;
  /** Lower case, without the last dot. */
  readonly name: string;
  /** Record type: 1 for an IPv4 address, 28 for an IPv6 address (IANA DNS parameters). */
  readonly type: number;
  /** Upper bound on the bytes of the answer: 512, or more if the query says so (RFC 6891). */
  readonly maxBytes: number;
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
  if (message.readUInt16BE(at + 2) !== CLASS_IN) return undefined;
  return {
    id: message.readUInt16BE(0),
    name: labels.join('.'),
    type: message.readUInt16BE(at),
    maxBytes: maxBytesOf(message, at + 4),
    question: Buffer.from(message.subarray(HEADER_BYTES, at + 4)),
    recursionDesired: (flags & 0x0100) !== 0,
  };
}

/** Reads the extension record behind the question, if there is one: root name, type, then the size. */
function maxBytesOf(message: Buffer, at: number): number {
  const isExtended =
    message.length >= at + 5 && message[at] === 0 && message.readUInt16BE(at + 1) === TYPE_OPT;
  return isExtended
    ? Math.min(MAX_MESSAGE, Math.max(MIN_MESSAGE, message.readUInt16BE(at + 3)))
    : MIN_MESSAGE;
}

/** Returns the place behind a name. Throws if the message ends within it. A compression pointer ends a name, RFC 1035, 4.1.4. */
export function skipName(message: Buffer, from: number): number {
  for (let at = from; at < message.length; at++) {
    const length = message[at] ?? 0;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    at += length;
  }
  throw new Error('the message ends within a name');
}

/** Encodes `count` records, which come as bytes. An answer that is too large for the asker says so and has none. */
export function encodeRecords(query: Query, rcode: number, count: number, records: Buffer): Buffer {
  const fits = HEADER_BYTES + query.question.length + records.length <= query.maxBytes;
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(query.id, 0);
  // Response, recursion available.
  const flags = 0x8080 | (query.recursionDesired ? 0x0100 : 0) | rcode;
  header.writeUInt16BE(fits ? flags : flags | TRUNCATED, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(fits ? count : 0, 6);
  return Buffer.concat(fits ? [header, query.question, records] : [header, query.question]);
}

/** Encodes IPv4 addresses, as many as fit. */
export function encodeAnswer(query: Query, rcode: Rcode, answers: readonly Answer[] = []): Buffer {
  const given = answers.slice(0, MAX_ANSWERS);
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
  return encodeRecords(query, rcode, given.length, Buffer.concat(records));
}
