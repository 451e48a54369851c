/** Code that no version names any more stays as long as a real sandbox runs it. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { VersionSettings } from '#contract/functions/settings.ts';
import { DirectoryArtifactStore } from '#storage/artifacts/artifacts.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { detectCgroups } from '../../../worker/cgroup/detect.ts';
import { CodeCollector } from '../../../worker/code/code-collector.ts';
import { CodeStore } from '../../../worker/code/code-store.ts';
import { Networks } from '../../../worker/network/networks.ts';
import { Pool } from '../../../worker/pool/pool.ts';
import { SandboxFactory } from '../../../worker/pool/sandbox-factory.ts';
import { Receipts } from '../../../worker/pool/receipts.ts';
import { ownRanges } from '../../../worker/sandbox/zygote/subids.ts';
import { Zygotes } from '../../../worker/pool/zygotes.ts';
import { packArchive } from '../../support/platform/archive.ts';
import { PrivateRedis } from '../../support/redis/private-redis.ts';

const QUIET = { info: () => undefined, warn: () => undefined, error: () => undefined };

test('the code of a live sandbox is not collected [AR8]', async () => {
  const root = await mkdtemp(join(tmpdir(), 'offshoot-in-use-'));
  const codeDirectory = join(root, 'code');
  const redis = await PrivateRedis.start();
  const commands = connectRedis(redis.url, 'commands', QUIET);
  const cgroups = detectCgroups();
  const zygotes = new Zygotes({
    imagesDirectory: join(process.env['OFFSHOOT_STATE'] ?? '', 'images'),
    codeDirectory,
    ...ownRanges(),
    rotation: { forks: 1_000, ageMs: 3_600_000, crashes: 1_000, crashWindowMs: 60_000, minAgeMs: 0 },
  });
  const artifacts = new DirectoryArtifactStore(join(root, 'artifacts'));
  const code = new CodeStore(codeDirectory, artifacts);
  const pool = new Pool({
    idleCpu: 0.25,
    ceiling: 10,
    preparedFloor: 0,
    keepAliveMs: 3_600_000,
    memoryReserveMb: 0,
    factory: new SandboxFactory({ cgroups, maxPids: 128, maxTmpMb: 64, pendingSignals: 32 }),
    zygotes,
    code,
    networks: new Networks({ ready: 1 }),
    receipts: new Receipts({ redis: commands, workerId: 'test', cgroups, uid: ownRanges().uid }),
  });
  const collector = new CodeCollector({
    root: codeDirectory,
    store: code,
    functions: new FunctionRepository(commands),
    maxBytes: 0,
  });
  const kept = (): Promise<string[]> => readdir(join(codeDirectory, 'test'));
  try {
    const { digest, bytes: archive } = await packArchive({
      'index.mjs': "export default { fetch: () => new Response('hello') };",
    });
    const bytes = (async function* () {
      yield archive;
    })();
    await artifacts.put(digest, bytes, 1e6);
    const lease = await pool.acquire({
      namespace: 'test',
      name: 'fn',
      key: 'test/fn@1',
      version: 1,
      digest,
      settings: VersionSettings.parse({}),
      entryFile: 'index.mjs',
      createdAt: 0,
      archiveBytes: archive.length,
    });
    // The sandbox has been idle for long, and its function has been removed.
    lease.release();
    await collector.look();
    expect(await kept()).toEqual([digest]);
    lease.sandbox.kill();
    await lease.sandbox.ended;
    await collector.look();
    expect(await kept()).toEqual([]);
  } finally {
    await pool.stop();
    await code.letGo();
    commands.disconnect();
    await redis.stop();
    await rm(root, { recursive: true, force: true });
  }
});
