/** Contestants of the warm rows: our whole platform, the peer servers, and a queue; all alive at the same time. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startRedis } from '../../infra/platform/redis.ts';
import { measureIn } from '../measure/children.ts';
import { loadHttp, type Effort, type LoadResult } from '../measure/http-load.ts';
import { messageOf, type Contestant } from '../measure/interleave.ts';
import { startOwnPlatform } from '../measure/own-platform.ts';
import type { Run } from '../measure/run.ts';
import { HELLO } from './sandbox-rows.ts';
import { peerServers, type Server } from './servers.ts';

const BULLMQ = 'BullMQ waitUntilFinished (no HTTP, no sandbox)';
const BULLMQ_PROGRAM = fileURLToPath(new URL('../peers/bullmq.ts', import.meta.url));

/**
 * Starts every contestant, ours first, and stops it again. A contestant that does not come up drops out at its first
 * turn.
 */
export async function withContestants<T>(
  run: Run,
  effort: Effort,
  turns: number,
  measure: (contestants: Contestant<LoadResult>[]) => Promise<T>,
): Promise<T> {
  const stops: (() => Promise<void>)[] = [];
  const contestants: Contestant<LoadResult>[] = [];
  const add = (row: string, turn: () => Promise<LoadResult>): void => {
    contestants.push({ row, turns, warmUp: 1, turn });
  };
  const addServer = async (row: string, start: () => Promise<Pick<Server, 'url'>>): Promise<void> => {
    run.stopping.throwIfAborted();
    try {
      const { url } = await start();
      add(row, () => loadHttp(url, effort, run.stopping));
    } catch (error) {
      add(row, () => Promise.reject(new Error(messageOf(error))));
    }
  };
  try {
    const redis = await startRedis({ dir: join(run.temporary, 'redis') });
    stops.push(async () => void (await redis.stop()));
    const platform = startOwnPlatform(run, redis.url);
    await addServer('offshoot, whole path', async () => {
      const { deploy, stop } = await platform;
      stops.push(stop);
      return { url: await deploy('hello', HELLO) };
    });
    if ('atOnce' in effort) {
      const deployShared = async () =>
        (await platform).deploy('shared', HELLO, { concurrency: effort.atOnce });
      await addServer(`offshoot, ${effort.atOnce} calls share a sandbox`, async () => ({
        url: await deployShared(),
      }));
    }
    for (const { row, start } of peerServers(run.temporary)) {
      await addServer(row, async () => {
        const server = await start();
        stops.push(server.stop);
        return server;
      });
    }
    const command = [process.execPath, BULLMQ_PROGRAM, redis.url, JSON.stringify(effort)];
    add(BULLMQ, async () => (await measureIn(command, run.stopping)) as LoadResult);
    return await measure(contestants);
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}
