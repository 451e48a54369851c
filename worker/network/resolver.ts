/**
 * The resolver of an egress namespace. It answers a sandbox only names that its function may reach, and only with addresses that
 * it may reach. It opens those addresses in the firewall before it answers.
 *
 * The socket belongs to the egress namespace, but the worker serves it. So no process that parses tenants' packets has power over
 * the namespace.
 */
import type { Socket } from 'node:dgram';
import type { RecordWithTtl } from 'node:dns';
import { Resolver as Upstream } from 'node:dns/promises';
import { parseAddress, parseCidr, PROTECTED_RANGES, type EgressRule } from '#contract/functions/network.ts';
import { log } from '../process/log.ts';
import { relay, RELAYED_TYPES } from './dns-relay.ts';
import {
  encodeAnswer,
  encodeRecords,
  parseQuery,
  RCODE,
  TYPE_A,
  TYPE_AAAA,
  type Answer,
  type Query,
} from './dns-wire.ts';
import { namesProtected } from './ruleset.ts';

/** The sandbox that asks, found by the query's source address: the firewall lets a sandbox send from its own address only. */
export interface Client {
  readonly rules: readonly EgressRule[];
  /** Opens addresses to the function under a rule; settles when they are reachable. */
  open(rule: number, addresses: readonly string[], seconds: number): Promise<void>;
  /** Records that the name was refused or, with an address, that it resolved to a refused address. */
  denied(name: string, address?: string): void;
}

export interface ResolverOptions {
  readonly socket: Socket;
  readonly client: (address: string) => Client | undefined;
  readonly hostAddresses: readonly string[];
  /** Ranges that no rule opens. */
  readonly never: readonly string[];
  /** Name servers to ask; the host's own by default. */
  readonly servers?: readonly string[] | undefined;
}

/** Upper bound on one sandbox's pending queries; further ones are dropped, and clients ask again. */
const MAX_PENDING = 32;
const UPSTREAM = { timeout: 2_000, tries: 2 };
/** Lower bound on the time an address stays open after an answer; a longer TTL of the record extends it. */
const LEAST_OPEN_SECONDS = 300;
/** Upper bound on the TTL in answers, so that a function asks again well before an address is closed. */
const MAX_TTL_SECONDS = 60;
const MAX_OPEN_SECONDS = 86_400;
const NO_RECORDS = Buffer.alloc(0);

export class Resolver {
  readonly #options: ResolverOptions;
  readonly #upstream = new Upstream(UPSTREAM);
  /** Number of pending queries, by client address. */
  readonly #pending = new Map<string, number>();
  /** Number of answers sent. */
  answered = 0;

  constructor(options: ResolverOptions) {
    this.#options = options;
    if (options.servers) this.#upstream.setServers(options.servers);
    options.socket.on('message', (message, { address, port }) => {
      const pending = this.#pending.get(address) ?? 0;
      if (pending >= MAX_PENDING) return;
      this.#pending.set(address, pending + 1);
      void this.#serve(message, address, port).finally(() => {
        const left = (this.#pending.get(address) ?? 1) - 1;
        if (left > 0) this.#pending.set(address, left);
        else this.#pending.delete(address);
      });
    });
    options.socket.on('error', (error) => log.warn({ error }, 'network: resolver socket'));
  }

  close(): void {
    this.#options.socket.close();
    this.#upstream.cancel();
  }

  async #serve(message: Buffer, address: string, port: number): Promise<void> {
    const client = this.#options.client(address);
    const query = client && parseQuery(message);
    if (!query) return;
    let answer: Buffer;
    try {
      answer = await this.#answer(query, client);
    } catch (error) {
      log.warn({ error, name: query.name }, 'network: a name could not be resolved');
      answer = encodeAnswer(query, RCODE.SERVFAIL);
    }
    this.#options.socket.send(answer, port, address, (error) => {
      if (!error) this.answered++;
    });
  }

  async #answer(query: Query, client: Client): Promise<Buffer> {
    if (query.type !== TYPE_A) return await this.#answerOther(query, client);
    const matching = client.rules.flatMap((rule, index) => (matches(rule, query.name) ? [index] : []));
    if (matching.length === 0) {
      client.denied(query.name);
      return encodeAnswer(query, RCODE.NXDOMAIN);
    }
    const found = await this.#lookUp(query.name);
    if (typeof found === 'number') return encodeAnswer(query, found);
    const given: Answer[] = [];
    const open: string[] = [];
    for (const { address, ttl } of found) {
      const guarded = this.#isProtected(address);
      if (guarded && !this.#isNamed(client.rules, address)) {
        client.denied(query.name, address);
        continue;
      }
      given.push({ address, ttl: Math.min(ttl, MAX_TTL_SECONDS) });
      if (!guarded) open.push(address);
    }
    const seconds = Math.min(MAX_OPEN_SECONDS, Math.max(LEAST_OPEN_SECONDS, ...found.map(({ ttl }) => ttl)));
    if (open.length > 0) await Promise.all(matching.map((rule) => client.open(rule, open, seconds)));
    return encodeAnswer(query, RCODE.NOERROR, given);
  }

  /** Answers a question for records that open nothing. The name of a service belongs to the host whose service it is. */
  async #answerOther(query: Query, client: Client): Promise<Buffer> {
    const isCovered = client.rules.some((rule) => covers(rule, query.name));
    if (!isCovered) {
      client.denied(query.name);
      return encodeAnswer(query, RCODE.NXDOMAIN);
    }
    const isRelayed = RELAYED_TYPES.has(query.type);
    if (!isRelayed && query.type !== TYPE_AAAA) return encodeAnswer(query, RCODE.NOERROR);
    const { rcode, count, answers } = await relay(query.question, this.#upstream.getServers());
    // A sandbox has no IPv6, so it gets no such address. Whether the name exists is still true or false.
    return isRelayed
      ? encodeRecords(query, rcode, count, answers)
      : encodeRecords(query, rcode, 0, NO_RECORDS);
  }

  async #lookUp(name: string): Promise<RecordWithTtl[] | typeof RCODE.NXDOMAIN | typeof RCODE.NOERROR> {
    try {
      return await this.#upstream.resolve4(name, { ttl: true });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'ENOTFOUND') return RCODE.NXDOMAIN;
      if (code === 'ENODATA') return RCODE.NOERROR;
      throw error;
    }
  }

  #isNamed(rules: readonly EgressRule[], address: string): boolean {
    const { hostAddresses, never } = this.#options;
    if (never.some((range) => contains(range, address))) return false;
    return rules.some(
      (rule) =>
        rule.kind === 'address' && namesProtected(rule, hostAddresses) && contains(rule.cidr, address),
    );
  }

  #isProtected(address: string): boolean {
    const { hostAddresses, never } = this.#options;
    return [...PROTECTED_RANGES, ...hostAddresses, ...never].some((range) => contains(range, address));
  }
}

export function matches(rule: EgressRule, name: string): boolean {
  if (rule.kind !== 'name') return false;
  return rule.subdomains ? name.endsWith(`.${rule.name}`) : name === rule.name;
}

/**
 * Does a rule cover records of the name? `_mongodb._tcp.db.example` is a service of db.example (RFC 2782), and
 * `7.2.0.192.in-addr.arpa` is the name of 192.0.2.7 (RFC 1035, section 3.5).
 */
export function covers(rule: EgressRule, name: string): boolean {
  if (matches(rule, name)) return true;
  if (rule.kind === 'address') {
    const reversed = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa$/.exec(name);
    const address = reversed?.slice(1).toReversed().join('.');
    return address !== undefined && parseAddress(address) !== undefined && contains(rule.cidr, address);
  }
  const host = name.replace(/^(?:_[^.]+\.)+/, '');
  return host !== name && matches(rule, host);
}

function contains(cidr: string, address: string): boolean {
  const { first, last } = parseCidr(cidr);
  // Text that is no IPv4 address counts as in every range, so it is refused.
  const number = parseAddress(address) ?? first;
  return number >= first && number <= last;
}
