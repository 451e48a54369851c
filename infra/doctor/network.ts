/** Features that functions with network egress need besides the rest. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { type Check, miss, pass, probe, SETUP, type Subject } from './check.ts';

/** Tried in namespaces of its own, as the worker does it. */
const IN_NAMESPACES = ['--user', '--map-root-user', '--net', '--'];

export async function checkEgress(): Promise<Check> {
  const subject: Subject = { name: 'network egress', level: 'recommended' };
  const tun = await access('/dev/net/tun', constants.R_OK | constants.W_OK).catch((error: Error) => error);
  if (tun) {
    const cause =
      'a network namespace is joined to the host through it; functions with egress rules cannot start';
    return miss(subject, tun.message, cause, 'sudo chmod 0666 /dev/net/tun');
  }
  const attempts = [
    ['slirp4netns', ['--version']],
    ['unshare', [...IN_NAMESPACES, 'nft', 'add', 'table', 'inet', 'probe']],
    ['unshare', [...IN_NAMESPACES, 'ip', 'link', 'add', 'probe', 'type', 'veth']],
  ] as const;
  for (const [program, args] of attempts) {
    const failure = await probe(program, args);
    if (failure !== undefined) {
      const cause = `"${[program, ...args].join(' ')}" failed; functions with egress rules cannot start`;
      return miss(subject, failure, cause, SETUP);
    }
  }
  return pass(subject, 'slirp4netns, nftables and veth can be used by this user');
}
