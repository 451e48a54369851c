/** Parts that the platform itself needs: Redis, its runtime images, its native parts. */
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RUNTIME_KINDS, RUNTIMES } from '#contract/functions/runtimes.ts';
import { ask } from '../platform/redis.ts';
import { type Check, miss, pass, probe, readSysctl, SETUP, type Subject } from './check.ts';
import { parseConfigValue, parseRedisUrl, type RedisTarget } from './parse.ts';
import { checkByClient, needsClient } from './redis-client.ts';

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));
const NATIVE_PARTS = [
  'launcher',
  'worker.node',
  'notify.node',
  ...Object.values(RUNTIME_KINDS).flatMap(({ native }) => native.map((name) => `runtimes/${name}`)),
];

export async function checkRedis(): Promise<Check> {
  const subject: Subject = { name: 'Redis', level: 'required' };
  const url = process.env['REDIS_URL'];
  if (url === undefined || url === '') {
    const failure = await probe('redis-server', ['--version']);
    if (failure === undefined)
      return pass(subject, 'redis-server is installed; `npm start` runs a private one');
    const cause = 'calls and jobs wait in Redis, and neither REDIS_URL nor redis-server is there';
    return miss(subject, failure, cause, SETUP);
  }
  if (needsClient(url)) return await checkByClient(subject, url);
  const target = targetOf(url);
  if (target === undefined) {
    return miss(
      subject,
      'REDIS_URL is no URL',
      'it has the form redis://host:6379 or unix:///path',
      'unset REDIS_URL',
    );
  }
  const answer = await ask(target, ['PING']);
  // A Redis that asks for a password is there; the worker's start shows whether the password is right.
  if (answer.startsWith('+PONG') || answer.startsWith('-NOAUTH')) return checkPolicy(subject, target);
  const cause = 'nothing that speaks Redis answers at REDIS_URL';
  return miss(
    subject,
    answer.trim() || 'no answer within a second',
    cause,
    'start that Redis, or unset REDIS_URL to use a private one',
  );
}

async function checkPolicy(subject: Subject, target: RedisTarget): Promise<Check> {
  const policy = parseConfigValue(await ask(target, ['CONFIG', 'GET', 'maxmemory-policy']));
  if (policy === undefined)
    return pass(subject, 'answers; its maxmemory-policy cannot be read, and must be noeviction');
  if (policy === 'noeviction') return pass(subject, 'answers, maxmemory-policy is noeviction');
  const cause = 'when its memory is full, this Redis would drop queued work in silence';
  const where = 'path' in target ? `-s ${target.path}` : `-h ${target.host} -p ${target.port}`;
  return miss(
    subject,
    `maxmemory-policy is ${policy}`,
    cause,
    `redis-cli ${where} CONFIG SET maxmemory-policy noeviction`,
  );
}

function targetOf(url: string): RedisTarget | undefined {
  try {
    return parseRedisUrl(url);
  } catch {
    return undefined;
  }
}

export async function checkOvercommit(): Promise<Check> {
  const subject: Subject = { name: 'vm.overcommit_memory', level: 'recommended' };
  const value = (await readSysctl('vm.overcommit_memory')) ?? 0;
  if (value === 1) return pass(subject, '1');
  const cause =
    'Redis forks to rewrite its append-only file, which fails when it holds more than half of the memory';
  return miss(subject, String(value), cause, 'sudo sysctl -w vm.overcommit_memory=1');
}

export async function checkNativeParts(): Promise<Check> {
  const subject: Subject = { name: 'native parts', level: 'required' };
  const missing = await absent(NATIVE_PARTS.map((name) => join(CHECKOUT, 'worker/native/build', name)));
  if (missing.length === 0) return pass(subject, NATIVE_PARTS.join(', '));
  return miss(
    subject,
    `missing: ${missing.join(', ')}`,
    'the C parts of the worker are not built',
    'make -C worker/native',
  );
}

export async function checkImages(): Promise<Check> {
  const subject: Subject = { name: 'runtime images', level: 'required' };
  const images = join(process.env['OFFSHOOT_STATE'] ?? join(homedir(), '.local/state/offshoot'), 'images');
  const missing = await absent(RUNTIMES.map((name) => join(images, name, 'opt/offshoot/image.json')));
  if (missing.length === 0) return pass(subject, `${RUNTIMES.join(', ')} in ${images}`);
  return miss(
    subject,
    `missing: ${missing.join(', ')}`,
    'sandboxes have no root file system to start from',
    SETUP,
  );
}

async function absent(paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    paths.map((path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    ),
  );
  return paths.filter((_, index) => found[index] !== true);
}
