/**
 * Shares this worker's simultaneous queued runs among namespaces. A job is fetched from Redis only when its namespace has a
 * permit, so waiting jobs stay where any other worker can take them.
 *
 * Weighted fair, by time: a namespace pays for the time that its runs hold permits, divided by its weight. The waiting namespace
 * that has paid least is next. A lone namespace gets all shared permits. A few more are kept for namespaces that have none, so
 * that their first run need not wait for the end of another's long run.
 */
import { DEFAULT_WEIGHT } from '#contract/functions/quota.ts';

/**
 * Time for which a free permit is held for a namespace that is owed one and was active this recently. A namespace fetches its
 * jobs one by one, so it cannot claim several free permits at once; it comes back within a round trip.
 */
const COMING_MS = 10;
const LOOK_AGAIN_MS = 1;

/** Weight of a run in the estimate of a namespace's next one. */
const ESTIMATE_GAIN = 0.2;

interface Tenant {
  weight: number;
  running: number;
  /** Sum of the times at which its present runs began; gives the time that they have taken until now. */
  begun: number;
  /** Total time of its ended runs, in milliseconds. */
  used: number;
  /** Expected duration of a run, so that several that begin at once are not counted as nothing. */
  estimate: number;
  /** Time before which the namespace gets no permit. */
  pausedUntil: number;
  /** True when the namespace had no work, or could not do it: it may not make up for what others have used meanwhile. */
  idle: boolean;
  /** Time at which it last got a permit, asked for one, or gave one back. */
  seenAt: number;
  readonly waiting: ((permit: JobPermit | undefined) => void)[];
}

/** The right to one run; pass it to leave() or exchange() exactly once. */
export interface JobPermit {
  readonly namespace: string;
  readonly since: number;
}

export interface JobPermitsOptions {
  /** Number of permits for any namespace. */
  readonly shared: number;
  /** Number of further permits, for namespaces that have none. */
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
    // Its past use counts by the new weight as it did by the old one.
    tenant.used *= weight / tenant.weight;
    tenant.weight = weight;
  }

  /** Returns a permit at once; undefined when none is free, or when it is another namespace's turn. */
  tryEnter(namespace: string): JobPermit | undefined {
    const tenant = this.#tenant(namespace);
    const now = this.#now();
    tenant.seenAt = now;
    if (this.#closed || !this.#fits(tenant) || tenant.pausedUntil > now) return undefined;
    this.#catchUp(tenant, now);
    if (this.#others(tenant, now)) return undefined;
    return this.#give(namespace, tenant, now);
  }

  /** Waits for a permit; resolves to undefined when it is withdrawn or the permits are closed. */
  enter(namespace: string): Promise<JobPermit | undefined> {
    const now = this.tryEnter(namespace);
    if (now || this.#closed) return Promise.resolve(now);
    const tenant = this.#tenant(namespace);
    this.#catchUp(tenant, this.#now());
    const { promise, resolve } = Promise.withResolvers<JobPermit | undefined>();
    tenant.waiting.push(resolve);
    this.#watchPauses(this.#now());
    // The permit may be held for a namespace that does not come.
    if (this.#fits(tenant)) this.#lookAgain(this.#now() + LOOK_AGAIN_MS);
    return promise;
  }

  /** Ends all waits of the namespace; they resolve to undefined. */
  withdraw(namespace: string): void {
    for (const resolve of this.#tenant(namespace).waiting.splice(0)) resolve(undefined);
  }

  /** Gives a permit back. `idle`: there was no job, so the time is neither paid for nor counted in the estimate. */
  leave(permit: JobPermit, { idle = false } = {}): void {
    this.#giveBack(permit, idle);
    this.#serve();
  }

  /** Gives a permit back and returns a new one, unless it is another namespace's turn. */
  exchange(permit: JobPermit): JobPermit | undefined {
    this.#giveBack(permit, false);
    const next = this.tryEnter(permit.namespace);
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

  /** Gives the namespace no permit for this many milliseconds; 0 ends a pause. */
  pause(namespace: string, milliseconds: number): void {
    const tenant = this.#tenant(namespace);
    const now = this.#now();
    if (milliseconds === 0 && tenant.pausedUntil <= now) return;
    tenant.pausedUntil = now + milliseconds;
    tenant.idle = true;
    if (milliseconds === 0) this.#serve();
  }

  /** Stops giving permits, and ends all waits. */
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

  /** Time that the namespace has used, divided by its weight. */
  #paid({ used, running, begun, estimate, weight }: Tenant, now: number): number {
    return (used + Math.max(running * estimate, running * now - begun)) / weight;
  }

  /** Lets a namespace that had no work start level with the others: idle time earns no credit. */
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

  /** Is it the turn of another namespace, which waits or is about to? A lead of one run does not count. */
  #others(tenant: Tenant, now: number): boolean {
    const limit = this.#paid(tenant, now) - tenant.estimate / tenant.weight;
    for (const other of this.#tenants.values()) {
      if (other === tenant || other.idle || other.pausedUntil > now || !this.#fits(other)) continue;
      const there = other.waiting.length > 0 || now - other.seenAt < COMING_MS;
      if (there && this.#paid(other, now) < limit) return true;
    }
    return false;
  }

  /** Gives free permits to the waiting namespaces that have paid least. */
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

  /** Sets a timer for the end of a pause, because no other event may come then. */
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
