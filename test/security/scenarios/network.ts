/**
 * Sockets through which sandboxes might reach one another. Other tests try to reach the host and the world (E1 to E6).
 */
import { type AttackBench, valueOf } from '../attack-bench.ts';

/** A server in one sandbox, on loopback and in the abstract namespace; another sandbox tries to reach it. */
export async function reachSibling(bench: AttackBench): Promise<string[]> {
  const [server, client] = await Promise.all([bench.attacker(), bench.attacker()]);
  const name = `${bench.canaries.abstractSocket}-sibling`;
  const port = valueOf(await server.js('serve', name), 'port');
  const own = await server.js('reach', port, name);
  if (own.some(({ value }) => value !== 'reached')) return ['the server does not even reach itself'];
  const told = await client.js('reach', port, name);
  return told
    .filter(({ succeeded }) => succeeded)
    .map(({ call }) => `connect of a sibling's ${call === `connect ${port}` ? 'port' : 'abstract socket'}`);
}
