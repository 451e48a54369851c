/** offshoot doctor: the checks of infra/doctor/doctor.ts, run on this host in a process of their own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Context } from '../../terminal/context.ts';
import { CliError, EXIT_CODES } from '../../terminal/errors.ts';

const DOCTOR = fileURLToPath(new URL('../../../infra/doctor/doctor.ts', import.meta.url));

export async function doctor({ flags }: Context): Promise<number> {
  if (!existsSync(DOCTOR)) {
    throw new CliError('failed', 'this installation has no doctor: infra/doctor/doctor.ts is missing', {
      next: 'take the whole checkout, then: offshoot doctor',
    });
  }
  const child = spawn(process.execPath, [DOCTOR, ...(flags.json ? ['--json'] : [])], { stdio: 'inherit' });
  await once(child, 'exit');
  return child.exitCode ?? EXIT_CODES.failed.code;
}
