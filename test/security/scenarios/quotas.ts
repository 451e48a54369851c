/** U: quotas that the kernel keeps for a user, and for the user above that one. */
import { execFileSync } from 'node:child_process';
import { readFileSync, watch } from 'node:fs';
import { pendingSignalsEach, pendingSignalsHere } from '../../../worker/cgroup/user-limits.ts';
import { AttackBench, type Attacker, type Attempt, valueOf } from '../attack-bench.ts';
import type { Scenario } from './scenario.ts';
import { withTenant } from './tenants.ts';

/** Limit of pending signals for this process and its later children, in place of the machine's. */
const NARROW_SIGNALS = 2_000;
const MANY_SANDBOXES = 40;

const count = (told: readonly Attempt[], call: string): number => Number(valueOf(told, call) || '0');

/** Whether this process, the service user on the host, gets an inotify instance. */
function watchesHere(): string[] {
  try {
    watch('/tmp').close();
    return [];
  } catch (error) {
    return [`the service user on the host: ${String(error)}`];
  }
}

/** Runs `work` with another limit of pending signals for this process, which its launchers inherit. */
export async function withSignalLimit<T>(limit: number, work: () => Promise<T>): Promise<T> {
  const set = (value: string): unknown =>
    execFileSync('prlimit', ['--pid', String(process.pid), `--sigpending=${value}`]);
  set(`${limit}:`);
  try {
    return await work();
  } finally {
    const hard = /^Max pending signals\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    set(`${hard}:`);
  }
}

/** Signals that are pending for processes of this user, in all user namespaces below. */
const pendingHere = (): number =>
  Number(/^SigQ:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

async function sandboxes(
  bench: AttackBench,
  number: number,
  pendingSignals: number,
  pids = 64,
): Promise<Attacker[]> {
  const started: Attacker[] = [];
  for (let index = 0; index < number; index++) started.push(await bench.attacker({ pendingSignals, pids }));
  return started;
}

/**
 * Number of timers that a sandbox of another tenant gets while many of the first hold all they can of a quota; `limit`
 * is the service user's own.
 */
export async function timersBeside(
  bench: AttackBench,
  id: string,
  number: number,
  each: number,
): Promise<{ taken: number; left: number; pending: number }> {
  const tenant = await AttackBench.open({ canaries: bench.canaries });
  const attacking = await AttackBench.open({ canaries: bench.canaries });
  try {
    const [victim] = await sandboxes(tenant, 1, each);
    const attackers = await sandboxes(attacking, number, each, 40);
    let taken = 0;
    for (const attacker of attackers) {
      const [first] = await attacker.addon(id);
      taken += Number(first?.value ?? '0');
    }
    const pending = pendingHere();
    return { taken, pending, left: count((await victim?.addon('U2')) ?? [], 'timer_create') };
  } finally {
    await attacking.close();
    await tenant.close();
  }
}

/** Amount of each quota that the kernel gives one sandbox, by the name of the quota. */
async function takenBy(attacker: Attacker): Promise<Record<string, string>> {
  const told = await attacker.addon('U4');
  const facts = told.filter(({ value }) => value !== undefined);
  return Object.fromEntries(facts.map(({ call, value = '' }) => [call, value]));
}

/** Quotas of which a sandbox gets nothing. */
const REFUSED = ['huge pages', 'message queues', 'fanotify groups', 'keys', 'larger pipes of the worker'];
const GIVEN = ['pipes', 'epoll watches', 'descriptors in flight', 'locked pages'];

export const quotas: Readonly<Record<string, Scenario>> = {
  U1: {
    title:
      'inotify: a function that takes all instances it gets leaves those of others and of the host alone',
    run: (bench) =>
      withTenant(bench, async (tenant) => {
        const [one, other] = [await bench.attacker(), await tenant.attacker()];
        const taken = await one.addon('U1');
        const got = watchesHere();
        const second = await other.addon('U1');
        for (const told of [taken, second])
          for (const call of ['inotify_init1', 'inotify_init'])
            if (valueOf(told, call) !== '0') got.push(`${call}: ${valueOf(told, call)} instances`);
        const errnos = [...taken, ...second].flatMap(({ errno }) => errno ?? []);
        if (errnos.join() !== 'EMFILE,EMFILE,EMFILE,EMFILE') got.push(`answered ${errnos.join()}`);
        return got;
      }),
  },
  U2: {
    title: `timers: ${MANY_SANDBOXES} sandboxes with all the POSIX timers they get leave another tenant's its own`,
    timeoutMs: 240_000,
    run: (bench) =>
      withSignalLimit(NARROW_SIGNALS, async () => {
        const each = pendingSignalsEach(pendingSignalsHere(), MANY_SANDBOXES + 1);
        const { taken, left, pending } = await timersBeside(bench, 'U2', MANY_SANDBOXES, each);
        const got =
          taken === MANY_SANDBOXES * each ? [] : [`they took ${taken}, not ${MANY_SANDBOXES} times ${each}`];
        if (each < 8) got.push(`only ${each} timers each`);
        if (left !== each) got.push(`the other tenant got ${left} timers, not ${each}`);
        if (pending > NARROW_SIGNALS / 2) got.push(`${pending} of ${NARROW_SIGNALS} are in use`);
        return got;
      }),
  },
  U4: {
    title: `user-quotas: ${GIVEN.join(', ')} are left for a tenant when another takes all it can; no tenant gets ${REFUSED.join(', ')}`,
    run: (bench) => withTenant(bench, async (tenant) => await userQuotas(bench, tenant)),
  },
};

/** Shortfall in the quotas of a sandbox of `tenant` while sandboxes of `bench` hold all that they can. */
export async function userQuotas(bench: AttackBench, tenant = bench): Promise<string[]> {
  const alone = await tenant.with(takenBy);
  const got = GIVEN.filter((name) => !(Number(alone[name]) >= 16)).map(
    (name) => `${name}: ${alone[name]} alone`,
  );
  for (const name of REFUSED) if (alone[name] !== '0') got.push(`${name}: ${alone[name]}`);
  // Three, because the kernel's own bound of pages in pipes is that of two sandboxes.
  for (const attacker of await sandboxes(bench, 3, 32)) await takenBy(attacker);
  const beside = await tenant.with(takenBy);
  return [
    ...got,
    ...GIVEN.filter((name) => beside[name] !== alone[name]).map(
      (name) => `${name}: ${beside[name]} beside others, ${alone[name]} alone`,
    ),
  ];
}
