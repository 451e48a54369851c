/**
 * Checks everything that a host must offer, and prints for each failure its cause and the command that mends it.
 * As a program: a table for people, `--json` for machines, exit code 1 when something required is missing.
 */
import { spawnSync } from 'node:child_process';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import type { Check } from './check.ts';
import {
  checkAppArmor,
  checkDevices,
  checkInotify,
  checkKernelVersion,
  checkLandlock,
  checkOverlay,
  checkPidMax,
  checkSeccomp,
  checkUserNamespaces,
} from './kernel.ts';
import { checkEgress } from './network.ts';
import { checkImages, checkNativeParts, checkOvercommit, checkRedis } from './platform.ts';
import { checkCgroups, checkIdMappers, checkSubids } from './user.ts';

export type { Check } from './check.ts';

/** Checks the host as the user of this process, who should be the one that runs the platform. */
export function checkHost(): Promise<Check[]> {
  return Promise.all([
    checkKernelVersion(),
    checkUserNamespaces(),
    checkAppArmor(),
    checkSubids(),
    checkIdMappers(),
    checkCgroups(),
    checkOverlay(),
    checkSeccomp(),
    checkRedis(),
    checkNativeParts(),
    checkImages(),
    checkEgress(),
    checkLandlock(),
    checkPidMax(),
    checkInotify(),
    checkDevices(),
    checkOvercommit(),
  ]);
}

/** A line for each check, and below a failed one its cause and remedy. */
export function describeChecks(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks.map((check) => describe(check, width)).join('\n');
}

function describe({ name, ok, level, found, cause, fix }: Check, width: number): string {
  const mark = ok
    ? styleText('green', 'ok  ')
    : level === 'required'
      ? styleText('red', 'FAIL')
      : styleText('yellow', 'warn');
  const lines = [`${mark}  ${name.padEnd(width)}  ${found}`];
  if (cause !== undefined) lines.push(`      why:  ${cause}`);
  if (fix !== undefined) lines.push(`      mend: ${styleText('bold', fix)}`);
  return lines.join('\n');
}

/** Adds the platform's environment, as infra/lib.sh sets it, when the doctor is run by hand. */
function completeEnvironment(): void {
  const { username, homedir } = userInfo();
  process.env['OFFSHOOT_STATE'] ??= join(
    process.env['XDG_STATE_HOME'] ?? join(homedir, '.local/state'),
    'offshoot',
  );
  process.env['OFFSHOOT_CGROUP'] ??= `offshoot-${username}`;
}

/** As root, only the service user's rights matter: returns the exit code of a doctor run as that user. */
function runAsServiceUser(): number | undefined {
  if (process.getuid?.() !== 0 || spawnSync('id', ['-u', 'offshoot']).status !== 0) return undefined;
  const script = fileURLToPath(new URL('../as-service-user.sh', import.meta.url));
  const args = [script, 'node', 'infra/doctor/doctor.ts', ...process.argv.slice(2)];
  return spawnSync('bash', args, { stdio: 'inherit' }).status ?? 1;
}

async function main(): Promise<number> {
  const code = runAsServiceUser();
  if (code !== undefined) return code;
  completeEnvironment();
  const checks = await checkHost();
  const failed = checks.filter(({ ok, level }) => !ok && level === 'required');
  if (process.argv.includes('--json')) {
    process.stdout.write(
      `${JSON.stringify({ user: userInfo().username, ok: failed.length === 0, checks }, null, 2)}\n`,
    );
  } else {
    const verdict =
      failed.length === 0 ? 'This host can run Offshoot.' : `${failed.length} required check(s) failed.`;
    process.stdout.write(`${describeChecks(checks)}\n\n${verdict}\n`);
  }
  return failed.length === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main();
