/** F: the runtime that a sandbox inherited from its zygote. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { attempt, fact } from './attempt.mjs';

const descriptors = () =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [{ call: `fd ${fd}`, value: readlinkSync(`/proc/self/fd/${fd}`) }];
    } catch {
      return [];
    }
  });

/**
 * Writes messages of libuv's signal pipes (a pointer to a handle and a number, uv__signal_msg_t) into every pipe of
 * this process: a process that reads one takes the pointer for one of its own.
 */
export const F1poison = () => {
  const message = Buffer.alloc(16, 0x41);
  return descriptors()
    .filter(({ call, value }) => value.startsWith('pipe:') && Number(call.slice(3)) > 2)
    .map(({ call }) => attempt(`write to ${call}`, () => writeSync(Number(call.slice(3)), message)));
};

/** Taken while the module is loaded. */
const atFirstTick = descriptors();
const globalsAtFirst = Object.getOwnPropertyNames(globalThis).toSorted().join(' ');

export const F1 = () => atFirstTick;

export const F2 = () => [
  { call: 'process.env', value: JSON.stringify(process.env) },
  { call: 'process.argv', value: JSON.stringify(process.argv) },
  { call: 'process.execArgv', value: JSON.stringify(process.execArgv) },
  { call: 'env of a child', value: execFileSync('/usr/bin/env').toString() },
  fact('/proc/self/environ', () => readFileSync('/proc/self/environ', 'utf8')),
  fact('/proc/1/environ', () => readFileSync('/proc/1/environ', 'utf8')),
];

/** Searches the memory that a script can read of its own process: the heap, by a snapshot. */
export const F3 = async ([reversed]) => {
  const { getHeapSnapshot } = await import('node:v8');
  let text = '';
  for await (const chunk of getHeapSnapshot()) text += chunk;
  const wanted = [...reversed].toReversed().join('');
  // Only the request with the secret and the string just made may contain it.
  return [
    { call: 'in the heap', value: String(text.split(wanted).length - 1) },
    attempt('/proc/self/mem', () => readFileSync('/proc/self/mem')),
  ];
};

export const F5 = () => [
  { call: 'uuids', value: Array.from({ length: 200 }, () => crypto.randomUUID()).join(' ') },
];

const MODULES = ['/var/task/attempt.mjs'];

/** Leaves as much behind as JavaScript can. */
export const F7pollute = ([mark]) => {
  globalThis[mark] = mark;
  Object.prototype[mark] = mark;
  Array.prototype[mark] = mark;
  process.env[mark] = mark;
  createRequire('/var/task/')('node:fs')[mark] = mark;
  createRequire('/var/task/')('module')._cache[mark] = mark;
  createRequire('/var/task/')(MODULES[0]);
  Intl[mark] = mark;
  process.title = mark;
  return [];
};

export const F7look = ([mark]) => [
  { call: 'globals', value: globalsAtFirst },
  ...Object.entries({
    globalThis,
    prototype: {},
    array: [],
    env: process.env,
    fs: createRequire('/var/task/')('node:fs'),
    cache: createRequire('/var/task/')('module')._cache,
    Intl,
  })
    .filter(([, owner]) => mark in owner)
    .map(([value]) => ({ call: 'seen', value })),
  ...(process.title === mark ? [{ call: 'seen', value: 'title' }] : []),
];

const POLLUTIONS = {
  'JSON.parse': () => (JSON.parse = () => ({ forged: true })),
  'JSON.stringify': () => (JSON.stringify = () => '{"forged":true}'),
  'Promise.then': () => (Promise.prototype.then = () => new Promise(() => undefined)),
  'Promise.then throws': () =>
    (Promise.prototype.then = () => {
      throw new Error('polluted');
    }),
  'process.exit': () => (process.exit = process.reallyExit = () => undefined),
  'process.nextTick': () => (process.nextTick = () => undefined),
  'Buffer.concat': () => (Buffer.concat = () => Buffer.alloc(0)),
  'Buffer.from': () => (Buffer.from = () => Buffer.alloc(3)),
  'Buffer.allocUnsafe': () => (Buffer.allocUnsafe = () => Buffer.alloc(1)),
  'Uint8Array.set': () => (Uint8Array.prototype.set = () => undefined),
  'Object.prototype setters': () =>
    Object.defineProperty(Object.prototype, 'handle', {
      set: () => {
        throw new Error('polluted');
      },
    }),
  'Array.prototype.push': () => (Array.prototype.push = () => 0),
  'Symbol.iterator': () =>
    (Array.prototype[Symbol.iterator] = function* () {
      yield 'polluted';
    }),
  'Map.get': () => (Map.prototype.get = () => undefined),
  Response: () => (globalThis.Response = undefined),
  'Error.prepareStackTrace': () =>
    (Error.prepareStackTrace = () => {
      throw new Error('polluted');
    }),
  console: () => (globalThis.console = undefined),
  'process.emit': () => (process.emit = () => false),
};
export const F8names = () => Object.keys(POLLUTIONS).map((value) => ({ call: 'pollution', value }));
const RealResponse = Response;
export const F8 = ([name]) => {
  POLLUTIONS[name]();
  return new RealResponse('polluted');
};

export const F10 = async ([how]) => {
  const ways = {
    abort: () => process.abort(),
    exit: () => process.exit(0),
    rejection: () => void Promise.reject(new Error('unhandled on purpose')),
    overflow: () => {
      const again = () => again() + 1;
      again();
    },
    throw: () =>
      setImmediate(() => {
        throw new Error('late on purpose');
      }),
    heap: () => {
      const kept = [];
      for (;;) kept.push(Array.from({ length: 100_000 }, () => 1.5));
    },
  };
  ways[how]();
  await sleep(20_000);
};

/** Writes frames of its own making to the channel (contract/wire/channel.ts): kind, handle, declared length, payload in base64. */
export const F12 = async ([kind, handle, declared, text, times = '1']) => {
  const channel = Number(
    descriptors()
      .find(({ value }) => value.startsWith('socket:'))
      .call.slice(3),
  );
  const payload = Buffer.from(text, 'base64');
  const frame = Buffer.alloc(9 + payload.length);
  frame.writeUInt32LE(declared === '' ? 5 + payload.length : Number(declared), 0);
  frame[4] = Number(kind);
  frame.writeUInt32LE(Number(handle), 5);
  payload.copy(frame, 9);
  for (let left = Number(times); left > 0; left--) writeSync(channel, frame);
  await sleep(100);
  return [];
};

/** Answers late, so that others have time to interfere. */
export const slow = async ([text]) => {
  await sleep(600);
  return new Response(text);
};

export const secret = (_, env) => [{ call: 'own secret', value: JSON.stringify(env) }];
