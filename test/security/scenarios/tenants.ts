/** Two tenants on one host. */
import { AttackBench } from '../attack-bench.ts';

/** Runs `work` with a bench of another namespace. */
export async function withTenant<T>(
  bench: AttackBench,
  work: (tenant: AttackBench) => Promise<T>,
): Promise<T> {
  const tenant = await AttackBench.open({ canaries: bench.canaries });
  try {
    return await work(tenant);
  } finally {
    await tenant.close();
  }
}
