/**
 * The resolver of an egress namespace: answers a sandbox only the names that its function may reach, only with addresses
 * that it may reach, and opens these in the firewall before it answers. A socket of the egress namespace, served by the
 * worker: no process that parses tenants' packets stands in the namespace with power over it.
 */
import type { Socket } from 'node:dgram';
import type { RecordWithTtl } from 'node:dns';
import { Resolver as Upstream } from 'node:dns/promises';
import { parseAddress, parseCidr, PROTECTED_RANGES, type EgressRule } from '#contract/functions/network.ts';
import { log } from '../process/log.ts';
import { encodeAnswer, parseQuery, RCODE, type Answer, type Query } from './dns-wire.ts';
import { namesProtected } from './ruleset.ts';

/** Who asks, found by the address of the question: the firewall lets a sandbox send from its own only. */
export interface Client {
  readonly rules: readonly EgressRule[];
  /** Lets the function reach addresses for a rule; settles when it may. */
  open(rule: number, addresses: readonly string[], seconds: number): Promise<void>;
  /** The name was refused; or, with an address, it resolved to one that is refused. */
  denied(name: string, address?: string): void;
}

export interface ResolverOptions {
  readonly socket: Socket;
  readonly client: (address: string) => Client | undefined;
  readonly hostAddresses: readonly string[];
  /** Ranges that no rule opens. */
  readonly never: readonly string[];
  /** Name servers to ask; the host's own when none are given. */
  readonly servers?: readonly string[] | undefined;
}

/** Questions of one sandbox that may be under way; more are not heard, and asked again. */
const MAX_PENDING = 32;
const UPSTREAM = { timeout: 2_000, tries: 2 };
/** An address stays open for this long after it was told, or its record's life if that is longer. */
const LEAST_OPEN_SECONDS = 300;
/** So that a function asks again well before an address is closed. */
const MAX_TTL_SECONDS = 60;
const MAX_OPEN_SECONDS = 86_400;

export class Resolver {
  readonly #options: ResolverOptions;
  readonly #upstream = new Upstream(UPSTREAM);
  /** Questions under way, by who asks. */
  readonly #pending = new Map<string, number>();
  /** Answers that have left. */
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
    const matching = client.rules.flatMap((rule, index) => (matches(rule, query.name) ? [index] : []));
    if (matching.length === 0) {
      client.denied(query.name);
      return encodeAnswer(query, RCODE.NXDOMAIN);
    }
    // There is no IPv6 in a sandbox, and nothing but an address helps a connection along.
    if (!query.wantsAddress) return encodeAnswer(query, RCODE.NOERROR);
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

function contains(cidr: string, address: string): boolean {
  const { first, last } = parseCidr(cidr);
  // What is no IPv4 address is in every range: it is then refused.
  const number = parseAddress(address) ?? first;
  return number >= first && number <= last;
}
