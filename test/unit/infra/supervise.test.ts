import { expect, test } from 'vitest';
import { type Exit, type Running } from '../../../infra/platform/process.ts';
import { nextDelay, supervise } from '../../../infra/platform/supervise.ts';

test('the delay doubles from 100 ms up to 5 s, and starts anew after a stable run', () => {
  const delays: number[] = [];
  let delay: number | undefined;
  for (let start = 0; start < 8; start++) delays.push((delay = nextDelay(delay, 50)));
  expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  expect(nextDelay(5000, 10_000)).toBe(100);
});

test('a process that ends is started again, but not after stop', async () => {
  const started: ((exit: Exit) => void)[] = [];
  const start = async (): Promise<Running> => {
    const { promise, resolve } = Promise.withResolvers<Exit>();
    started.push(resolve);
    const stop = (): Promise<Exit> => {
      resolve({ code: 0, signal: null });
      return promise;
    };
    return { pid: started.length, exited: promise, stop };
  };
  const said: string[] = [];
  const service = supervise({ name: 'it', start, say: (line) => said.push(line) });
  await expect.poll(() => started.length).toBe(1);
  started[0]?.({ code: 3, signal: null });
  await expect.poll(() => started.length).toBe(2);
  await service.stop(1000);
  expect(said).toEqual(['ended (exit code 3); starting it again in 100 ms']);
  expect(started).toHaveLength(2);
});
