/** Logs of functions on a running platform, as tests of output read them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { FunctionLog, type FunctionLogLine, type InvocationDetail } from '#contract/api/api.ts';
import { SLOWNESS } from '../faults/slowness.ts';
import { Live, type LiveAnswer, type LiveRequest } from './live.ts';

/** Upper bound on the wait for a line. */
const LINE_MS = 5_000 * SLOWNESS;

export interface Called {
  readonly id: string;
  readonly answer: LiveAnswer;
}

/** Calls a function; the id is that of the invocation. */
export async function called(
  live: Live,
  name: string,
  path = '/',
  request: LiveRequest = {},
): Promise<Called> {
  const answer = await live.call(name, path, request);
  return { id: Live.values(answer, 'x-offshoot-invocation')[0] ?? '', answer };
}

/** All lines of a function that it printed itself. */
export async function linesOf(live: Live, name: string): Promise<FunctionLogLine[]> {
  const response = await live.platform.api(`/functions/default/${name}/logs`);
  return FunctionLog.parse(await response.json()).logs.filter(({ level }) => level !== 'platform');
}

/** The lines of a function, once there are so many, or as many as there are at the end of the wait. */
export async function lines(live: Live, name: string, count: number): Promise<FunctionLogLine[]> {
  const end = Date.now() + LINE_MS;
  for (;;) {
    const found = await linesOf(live, name);
    if (found.length >= count || Date.now() > end) return found;
    await sleep(50);
  }
}

/** The record of an invocation, once its gateway has written it. */
export async function recordOf(live: Live, id: string): Promise<InvocationDetail> {
  const end = Date.now() + LINE_MS;
  for (;;) {
    const response = await live.platform.api(`/invocations/${id}`);
    const found = (await response.json()) as InvocationDetail & { state?: string };
    if ((response.ok && found.state === 'done') || Date.now() > end) return found;
    await sleep(50);
  }
}
