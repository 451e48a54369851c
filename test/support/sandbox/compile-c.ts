import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Compiles C source to a static program, which runs in any image; or to `kind`. */
export async function compileC(source: string, kind: readonly string[] = ['-static']): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'offshoot-probe-'));
  try {
    const [input, output] = [join(directory, 'probe.c'), join(directory, 'probe')];
    await writeFile(input, source);
    await promisify(execFile)('gcc', ['-std=gnu17', '-O1', ...kind, '-o', output, input]);
    return await readFile(output);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
