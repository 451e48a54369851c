/** The parts of a process: their order, and the end of a start or a stop that does not go well. */
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, expect, test } from 'vitest';
import { Parts, type Part } from '../../../watchdog/parts.ts';

/** All acts of the parts, in order. */
let acts: string[];
let lines: { readonly level: string; readonly facts: Record<string, unknown>; readonly message: string }[];
const log = {
  info: (facts: object, message: string) => void lines.push({ level: 'info', facts: { ...facts }, message }),
  error: (facts: object, message: string) =>
    void lines.push({ level: 'error', facts: { ...facts }, message }),
};

beforeEach(() => {
  acts = [];
  lines = [];
});

/** A part that notes each of its acts when it is over; each takes `ms`. */
function part(name: string, ms = 1): Part {
  const act = (verb: string) => async (): Promise<void> => {
    await sleep(ms);
    acts.push(`${verb} ${name}`);
  };
  return { name, start: act('start'), stop: act('stop') };
}

test('parts start in order and stop in reverse, each logged with its time', async () => {
  // The first takes longest, so only a start that waits for it keeps the order.
  const parts = new Parts([part('a', 30), part('b'), { name: 'c' }, part('d')], log);
  await parts.start();
  await parts.stop(0);
  expect(acts).toEqual(['start a', 'start b', 'start d', 'stop d', 'stop b', 'stop a']);
  expect(lines.map(({ facts, message }) => `${String(facts['part'])}: ${message}`)).toEqual([
    'a: part started',
    'b: part started',
    'd: part started',
    'd: part stopped',
    'b: part stopped',
    'a: part stopped',
  ]);
  expect(lines[0]?.facts['ms']).toBeGreaterThanOrEqual(25);
  expect(lines[1]?.facts['ms']).toBeLessThan(25);
});

test('all parts drain at the same time, within the grace, before any stops', async () => {
  const drain = (name: string) => async (graceMs: number) => {
    await sleep(graceMs);
    acts.push(`drain ${name}`);
  };
  const parts = new Parts(
    [
      { ...part('a'), drain: drain('a') },
      { ...part('b'), drain: drain('b') },
    ],
    log,
  );
  await parts.start();
  const begun = performance.now();
  await parts.stop(200);
  // One after the other they would take 400 ms.
  expect(performance.now() - begun).toBeLessThan(390);
  expect(acts.slice(2).toSorted()).toEqual(['drain a', 'drain b', 'stop a', 'stop b']);
  expect(acts.slice(-2)).toEqual(['stop b', 'stop a']);
});

test('a part that fails to start stops those before it, starts none after it, and is named [ST9]', async () => {
  const broken: Part = { ...part('b'), start: () => Promise.reject(new Error('EADDRINUSE')) };
  const parts = new Parts([part('a'), part('a2'), broken, part('c')], log);
  const cause = new Error('EADDRINUSE');
  await expect(parts.start()).rejects.toThrow(
    expect.objectContaining({ message: 'the part "b" did not start: EADDRINUSE', cause }),
  );
  expect(acts).toEqual(['start a', 'start a2', 'stop a2', 'stop a']);
});

test('a part that throws at once is named too', async () => {
  const thrown: Part = {
    name: 'b',
    start: () => {
      throw new Error('no');
    },
  };
  await expect(new Parts([thrown], log).start()).rejects.toThrow('the part "b" did not start: no');
});

test('a stop that hangs is left after its limit and named, and the others stop [ST9]', async () => {
  const hangs: Part = { name: 'b', stop: () => new Promise(() => undefined) };
  const parts = new Parts([part('a'), hangs, part('c')], log, 50);
  await parts.start();
  const begun = performance.now();
  await expect(parts.stop(0)).rejects.toThrow(
    'these parts did not stop in order: b (it was not stopped within 50 ms)',
  );
  expect(performance.now() - begun).toBeLessThan(5_000);
  expect(acts).toEqual(['start a', 'start c', 'stop c', 'stop a']);
  expect(lines.filter(({ level }) => level === 'error')).toMatchObject([
    { facts: { part: 'b' }, message: 'part not stopped' },
  ]);
});

test('a drain that hangs is left after the grace and its limit', async () => {
  const hangs: Part = { ...part('a'), drain: () => new Promise(() => undefined) };
  const parts = new Parts([hangs, part('b')], log, 50);
  await parts.start();
  await expect(parts.stop(20)).rejects.toThrow('a (it was not drained within 70 ms)');
  expect(acts.slice(-2)).toEqual(['stop b', 'stop a']);
});

test('a stop that fails is named, and does not keep the others from stopping', async () => {
  const fails: Part = { name: 'b', stop: () => Promise.reject(new Error('broken pipe')) };
  const parts = new Parts([part('a'), fails, part('c')], log);
  await parts.start();
  await expect(parts.stop(0)).rejects.toThrow('b (broken pipe)');
  expect(acts.slice(-2)).toEqual(['stop c', 'stop a']);
});

test('a stop during the start stops what has begun, and nothing more starts', async () => {
  const parts = new Parts([part('a'), part('b', 50), part('c')], log);
  const starting = parts.start();
  await sleep(20);
  await parts.stop(0);
  await starting;
  expect(acts).not.toContain('start c');
  expect(acts).not.toContain('stop c');
  expect(acts).toEqual(expect.arrayContaining(['start a', 'stop b', 'stop a']));
});

test('a second stop waits for the first, and stops nothing twice', async () => {
  const parts = new Parts([part('a', 20)], log);
  await parts.start();
  await Promise.all([parts.stop(0), parts.stop(0)]);
  expect(acts).toEqual(['start a', 'stop a']);
});
