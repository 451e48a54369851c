/** An isolation receipt in words. */
import { LINUX_NAMESPACES, type IsolationReceipt } from '#contract/functions/isolation.ts';
import { clock, defuse } from '../terminal/text.ts';

const MB = 1024 * 1024;

/** The receipt in a line. */
export function isolationText(receipt: IsolationReceipt): string {
  const { namespaces, uid, cgroup, landlock } = receipt;
  return [
    `${Object.keys(namespaces).length} namespaces`,
    `uid ${uid.host}`,
    `cgroup v${cgroup.version}`,
    'seccomp',
    landlock > 0 ? `landlock ${landlock}` : 'no landlock',
    receipt.network === 'none' ? 'no network' : receipt.network,
  ].join(', ');
}

/** All of it. */
export function isolationFacts(receipt: IsolationReceipt | undefined): [string, string][] {
  if (!receipt) return [['isolation', 'not known: no sandbox has run it, or its receipt is no longer kept']];
  const { namespaces, uid, cgroup, landlock } = receipt;
  return [
    ['sandbox', `${defuse(receipt.sandbox)}, isolated ${clock(receipt.at)}`],
    ['mode', receipt.mode],
    ['namespaces', LINUX_NAMESPACES.map((name) => `${name}:${namespaces[name]}`).join(' ')],
    ['uid', `${uid.inside} inside, ${uid.host} on the host`],
    ['seccomp', `filter ${defuse(receipt.seccomp)}`],
    ['landlock', landlock > 0 ? `rules of ABI ${landlock}` : 'none on this host'],
    ['speculation', `indirect branches: ${receipt.branchSpeculation}`],
    [
      'cgroup',
      `v${cgroup.version}: ${cgroup.memoryBytes / MB} MB${cgroup.swapLimited ? ' with swap' : ', swap not limited'}, ` +
        `${cgroup.cpu} cpu, ${cgroup.pids} pids`,
    ],
    ['network', receipt.network],
    ['image', defuse(receipt.image)],
    ['code', defuse(receipt.code)],
  ];
}
