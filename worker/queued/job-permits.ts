/**
 * The runs of the queued lane that this worker has at the same time, shared by namespaces. A job is fetched from Redis only
 * when its namespace has been given a slot, so what has to wait stays where any other worker can take it.
 *
 * Weighted fair, by time: a namespace pays for the time that its runs hold slots, divided by its weight, and of those that
 * wait the one that has paid least is next. Who is alone gets all shared slots. A few more are kept for namespaces that have
 * none: their first run does not wait until a long run of another ends.
 */
import { DEFAULT_WEIGHT } from '#contract/functions/quota.ts';

/**
 * A namespace fetches its jobs one by one, so when several slots become free at once it is not there for each of them. One to
 * which a slot is owed, and that was there so shortly before, is waited for; it comes back within a round trip.
 */
const COMING_MS = 10;
const LOOK_AGAIN_MS = 1;

/** How much a run counts for what the next one is expected to take. */
const ESTIMATE_GAIN = 0.2;

interface Tenant {
  weight: number;
  running: number;
  /** Sum of the times at which its runs began, for the time that they have taken so far. */
  begun: number;
  /** Milliseconds that its ended runs have taken. */
  used: number;
  /** What a run of it takes, so that several that begin at once are not counted as nothing. */
  estimate: number;
  /** It is given nothing before. */
  pausedUntil: number;
  /** It had no work, or could not do it: what others have paid meanwhile is no debt to it. */
  idle: boolean;
  /** When it was given a slot, asked for one, or gave one back. */
  seenAt: number;
  readonly waiting: ((slot: JobPermit | undefined) => void)[];
}

/** The right to one run; to be given back exactly once. */
export interface JobPermit {
  readonly namespace: string;
  readonly since: number;
}

export interface JobPermitsOptions {
  /** Slots for whoever is next. */
  readonly shared: number;
  /** Further ones, for namespaces that have none. */
  readonly first: number;
  readonly now?: () => number;
}

export class JobPermits {
  readonly #options: JobPermitsOptions;
  readonly #now: () => number;
  readonly #tenants = new Map<string, Tenant>();
  #taken = 0;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #lookAt = Infinity;

  constructor(options: JobPermitsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  get taken(): number {
    return this.#taken;
  }

  setWeight(namespace: string, weight: number): void {
    const tenant = this.#tenant(namespace);
    // What it has paid counts by the new weight as it did by the old one.
    tenant.used *= weight / tenant.weight;
    tenant.weight = weight;
  }

  /** A slot at once, or undefined when others are to have it, or there is none. */
  tryEnter(namespace: string): JobPermit | undefined {
    const tenant = this.#tenant(namespace);
    const now = this.#now();
    tenant.seenAt = now;
    if (this.#closed || !this.#fits(tenant) || tenant.pausedUntil > now) return undefined;
    this.#catchUp(tenant, now);
    if (this.#others(tenant, now)) return undefined;
    return this.#give(namespace, tenant, now);
  }

  /** A slot when it is this namespace's turn; undefined when there will be none any more. */
  enter(namespace: string): Promise<JobPermit | undefined> {
    const now = this.tryEnter(namespace);
    if (now || this.#closed) return Promise.resolve(now);
    const tenant = this.#tenant(namespace);
    this.#catchUp(tenant, this.#now());
    const { promise, resolve } = Promise.withResolvers<JobPermit | undefined>();
    tenant.waiting.push(resolve);
    this.#watchPauses(this.#now());
    // One that is waited for may not come.
    if (this.#fits(tenant)) this.#lookAgain(this.#now() + LOOK_AGAIN_MS);
    return promise;
  }

  /** Those of the namespace that wait need not any more: they are told that there is none. */
  withdraw(namespace: string): void {
    for (const resolve of this.#tenant(namespace).waiting.splice(0)) resolve(undefined);
  }

  /** `idle`: there was nothing to run, so it has cost nothing and says nothing of what a run takes. */
  leave(slot: JobPermit, { idle = false } = {}): void {
    this.#giveBack(slot, idle);
    this.#serve();
  }

  /** Gives a slot back for a next one, which there is unless it is another's turn. */
  exchange(slot: JobPermit): JobPermit | undefined {
    this.#giveBack(slot, false);
    const next = this.tryEnter(slot.namespace);
    this.#serve();
    return next;
  }

  #giveBack({ namespace, since }: JobPermit, idle: boolean): void {
    const tenant = this.#tenant(namespace);
    const took = this.#now() - since;
    tenant.running--;
    tenant.seenAt = this.#now();
    tenant.begun -= since;
    this.#taken--;
    if (idle) tenant.idle = true;
    else {
      tenant.used += took;
      tenant.estimate += (took - tenant.estimate) * ESTIMATE_GAIN;
    }
  }

  /** Gives the namespace nothing for so long; 0 ends a pause. */
  pause(namespace: string, milliseconds: number): void {
    const tenant = this.#tenant(namespace);
    const now = this.#now();
    if (milliseconds === 0 && tenant.pausedUntil <= now) return;
    tenant.pausedUntil = now + milliseconds;
    tenant.idle = true;
    if (milliseconds === 0) this.#serve();
  }

  /** Nobody is given a slot any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { waiting } of this.#tenants.values())
      for (const resolve of waiting.splice(0)) resolve(undefined);
  }

  #tenant(namespace: string): Tenant {
    let tenant = this.#tenants.get(namespace);
    if (!tenant) {
      tenant = {
        weight: DEFAULT_WEIGHT,
        running: 0,
        begun: 0,
        used: 0,
        estimate: 0,
        pausedUntil: -Infinity,
        idle: true,
        seenAt: -Infinity,
        waiting: [],
      };
      this.#tenants.set(namespace, tenant);
    }
    return tenant;
  }

  #fits({ running }: Tenant): boolean {
    const { shared, first } = this.#options;
    return this.#taken < shared || (running === 0 && this.#taken < shared + first);
  }

  #give(namespace: string, tenant: Tenant, now: number): JobPermit {
    tenant.running++;
    tenant.seenAt = now;
    tenant.begun += now;
    this.#taken++;
    return { namespace, since: now };
  }

  /** Time that it has had, by its weight. */
  #paid({ used, running, begun, estimate, weight }: Tenant, now: number): number {
    return (used + Math.max(running * estimate, running * now - begun)) / weight;
  }

  /** One that had no work has saved nothing up: it begins beside those that have. */
  #catchUp(tenant: Tenant, now: number): void {
    if (!tenant.idle) return;
    tenant.idle = false;
    let least = Infinity;
    for (const other of this.#tenants.values()) {
      if (other !== tenant && (other.running > 0 || other.waiting.length > 0))
        least = Math.min(least, this.#paid(other, now));
    }
    if (least < Infinity) tenant.used += Math.max(0, least - this.#paid(tenant, now)) * tenant.weight;
  }

  /** Is the slot another's, who waits for it or is about to? Being ahead by one run is nothing yet. */
  #others(tenant: Tenant, now: number): boolean {
    const limit = this.#paid(tenant, now) - tenant.estimate / tenant.weight;
    for (const other of this.#tenants.values()) {
      if (other === tenant || other.idle || other.pausedUntil > now || !this.#fits(other)) continue;
      const there = other.waiting.length > 0 || now - other.seenAt < COMING_MS;
      if (there && this.#paid(other, now) < limit) return true;
    }
    return false;
  }

  /** Gives out what is free, to those who have paid least. */
  #serve(): void {
    const now = this.#now();
    for (;;) {
      let next: [string, Tenant] | undefined;
      let least = Infinity;
      for (const [namespace, tenant] of this.#tenants) {
        if (tenant.waiting.length === 0 || tenant.pausedUntil > now || !this.#fits(tenant)) continue;
        // Of two that have paid the same, the one with fewer runs for its weight.
        this.#catchUp(tenant, now);
        const paid = this.#paid(tenant, now) + tenant.running / tenant.weight / 1_000;
        if (paid < least) [next, least] = [[namespace, tenant], paid];
      }
      if (!next) return;
      if (this.#others(next[1], now)) return this.#lookAgain(now + LOOK_AGAIN_MS);
      const [namespace, tenant] = next;
      tenant.waiting.shift()?.(this.#give(namespace, tenant, now));
    }
  }

  /** A pause ends by itself, at which nothing else may happen. */
  #watchPauses(now: number): void {
    let soonest = Infinity;
    for (const { waiting, pausedUntil } of this.#tenants.values())
      if (waiting.length > 0 && pausedUntil > now) soonest = Math.min(soonest, pausedUntil);
    this.#lookAgain(soonest);
  }

  #lookAgain(at: number): void {
    if (this.#closed || at >= this.#lookAt) return;
    clearTimeout(this.#timer);
    this.#lookAt = at;
    this.#timer = setTimeout(
      () => {
        this.#lookAt = Infinity;
        this.#serve();
        this.#watchPauses(this.#now());
      },
      Math.max(1, Math.ceil(at - this.#now())),
    );
  }
}
