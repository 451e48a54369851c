/** The native code that can run outside of a sandbox, under AddressSanitizer and UndefinedBehaviorSanitizer. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const checkout = fileURLToPath(new URL('../../../..', import.meta.url));
let build: string;

beforeAll(async () => {
  build = await mkdtemp(join(tmpdir(), 'offshoot-sanitized-'));
  await run('make', ['-C', join(checkout, 'test/fuzz'), 'native', `BUILD=${build}`]);
}, 60_000);
afterAll(() => rm(build, { recursive: true, force: true }));

test('readers of messages, names of refusals and Landlock’s rules pass their checks under the sanitizers', async () => {
  const { stdout } = await run(join(build, 'native'));
  expect(stdout).toMatch(/^(\d+) of \1 hold\n$/);
});

test.each([
  ['header', 'seccomp_filter.gen.h'],
  ['names', 'seccomp_names.gen.h'],
])('the compiler of the filter gives the same %s as in the build', async (part, file) => {
  const { stdout } = await run(join(build, 'seccomp_compile'), [part]);
  expect(stdout).toBe(await readFile(join(checkout, 'worker/native/build', file), 'utf8'));
});
