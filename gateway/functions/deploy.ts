/**
 * Deploys functions: a version is stored, a worker loads it, and only then do calls go to it. If any step fails, the previous
 * version keeps serving and the failed version is removed.
 */
import type { Redis } from 'ioredis';
import type { ApiKeyRecord, DeployRequest, LoadFailure } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { partsOf, type FunctionSettings } from '#contract/functions/settings.ts';
import type { LogLine, RunReport } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { encodeLaneFrame, LaneKind } from '#contract/platform/lane.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { encodePayload } from '#contract/wire/payload.ts';
import { EVERY_NAMESPACE } from '#contract/functions/names.ts';
import { inspectArchive } from '#storage/artifacts/archive.ts';
import type { ArtifactStore } from '#storage/artifacts/artifacts.ts';
import type { FunctionRepository, StoredFunction } from '#storage/functions/function-repository.ts';
import type { Log } from '#storage/log.ts';
import type { FunctionCache } from './function-cache.ts';
import type { Dispatcher } from '../dispatch/dispatch.ts';
import { Invocation } from '../dispatch/invocation.ts';
import { checkHandlers } from './needed-handlers.ts';
import type { Schedules } from './schedules.ts';
import type { Failure } from '../dispatch/pending.ts';
import { allows } from './api-keys.ts';
import type { InvocationStore } from '../records/invocations.ts';
import type { UnnamedArchives } from './unnamed-archives.ts';
import { targetOf, type Target } from '../dispatch/target.ts';

/** Time for which a gateway may send calls to a version that is no longer active: longer than its cache uses a value. */
const KNOWN_MS = 5_000;
/** Upper bound on the archives whose file lists are cached: `offshoot dev` deploys the same few again and again. */
const REMEMBERED_ARCHIVES = 100;
/** Time limit for the logs of a load, which a worker may write a moment after its answer. */
const LOGS_PATIENCE_MS = 1_000;
const LOGS_RETRY_MS = 50;

export interface DeployerOptions {
  readonly functions: FunctionRepository;
  readonly invocations: InvocationStore;
  readonly artifacts: ArtifactStore;
  readonly unnamedArchives: UnnamedArchives;
  readonly directory: FunctionCache;
  readonly dispatcher: Dispatcher;
  readonly schedules: Schedules;
  /** Number of versions that a function keeps for a rollback. */
  readonly keptVersions: number;
  /** Time limit in milliseconds for the wait of a call for a worker. */
  readonly queueTimeoutMs: number;
  readonly commands: Redis;
  readonly log: Log;
}

/** The load failed by the platform's fault and not by the function's; the deploy may be retried unchanged. */
export class LoadNotDone extends Error {
  override readonly name = 'LoadNotDone';
  readonly id: string;
  readonly failure: Failure;

  constructor(id: string, failure: Failure) {
    super(`the new version could not be loaded: ${failure.outcome}`);
    this.id = id;
    this.failure = failure;
  }
}

export class Deployer {
  readonly #options: DeployerOptions;
  readonly #inspected = new Map<string, ReadonlySet<string>>();

  constructor(options: DeployerOptions) {
    this.#options = options;
  }

  async deploy(
    namespace: string,
    name: string,
    request: DeployRequest,
    holder: ApiKeyRecord,
  ): Promise<{ found: StoredFunction; load: { acquire: number; init: number } }> {
    const { functions, directory, log } = this.#options;
    const { manifest, digest, entryFile } = request;
    if (manifest.name !== name) {
      throw new OffshootError(
        'bad_manifest',
        `offshoot.json names the function "${manifest.name}", but it is deployed as "${name}"`,
      );
    }
    const { ofFunction, ofVersion } = partsOf(manifest);
    // A record that cannot be read is refused before anything is stored.
    await functions.record(namespace, name);
    const archiveBytes = await this.#checkArchive(digest, entryFile);
    this.#options.schedules.check(ofFunction.schedule);
    await this.#openNamespace(namespace, holder);

    const facts = { digest, settings: ofVersion, entryFile, createdAt: Date.now(), archiveBytes };
    const version = await functions.addVersion(namespace, name, facts);
    let report: RunReport;
    try {
      report = await this.#load(targetOf({ namespace, name, settings: ofFunction }, version));
      checkHandlers(report.handlers, ofFunction, ofVersion);
      await this.#activateLoaded(namespace, name, version.version, ofFunction);
    } catch (error) {
      await functions.discardVersion(namespace, name, version.version).catch((cause: unknown) => {
        log.warn(
          { error: String(cause), namespace, name, version: version.version },
          'a version was left behind',
        );
      });
      throw error;
    }
    await this.#changed(`${namespace}/${name}`);
    const found = await functions.find(namespace, name);
    if (!found) throw await directory.notFound(namespace, name, holder);
    // As the record says: a newer deploy may have ended meanwhile.
    await this.#options.schedules.set(namespace, name, found.record.settings.schedule);
    await functions.trimVersions(namespace, name, this.#options.keptVersions);
    const { acquire, init } = report.timings;
    return { found, load: { acquire, init } };
  }

  /** Makes a version active that was loaded before. Throws `conflict` when it no longer exists. */
  async activate(namespace: string, name: string, version: number): Promise<void> {
    const done = await this.#options.functions.activate(namespace, name, version, this.#underWayMs);
    if (done === 'absent') throw new OffshootError('conflict', `"${name}" has no version ${version}`);
    await this.#changed(`${namespace}/${name}`);
  }

  /** False when there is no such function. */
  async remove(namespace: string, name: string): Promise<boolean> {
    const removed = await this.#options.functions.remove(namespace, name);
    if (!removed) return false;
    await this.#options.schedules.set(namespace, name, undefined);
    await this.#changed(`${namespace}/${name}`);
    await this.#tellWorkers(encodeLaneFrame(LaneKind.FORGET, { id: '', function: `${namespace}/${name}` }));
    return true;
  }

  /** Size of the archive in bytes. Throws when the archive is missing or invalid, or lacks the entry file. */
  async #checkArchive(digest: string, entryFile: string): Promise<number> {
    const { artifacts, unnamedArchives } = this.#options;
    const bytes = (await unnamedArchives.claim(digest)) ? await artifacts.size(digest) : undefined;
    if (bytes === undefined) {
      throw new OffshootError('artifact_not_found', `the archive ${digest} has not been uploaded`);
    }
    let files = this.#inspected.get(digest);
    if (!files) {
      files = new Set((await inspectArchive(await artifacts.open(digest))).map((file) => file.path));
      if (this.#inspected.size >= REMEMBERED_ARCHIVES) this.#inspected.clear();
      this.#inspected.set(digest, files);
    }
    if (files.has(entryFile)) return bytes;
    throw new OffshootError('bad_archive', `the archive has no file "${entryFile}", which is to be loaded`);
  }

  /** Makes the namespace on its first deploy, which needs the namespace's own key or an admin key. */
  async #openNamespace(namespace: string, holder: ApiKeyRecord): Promise<void> {
    const { functions, directory } = this.#options;
    if (await functions.hasNamespace(namespace)) return;
    if (holder.namespace !== namespace && !allows(holder, 'admin', namespace)) {
      throw new OffshootError(
        'forbidden',
        `the namespace "${namespace}" is new; only an admin key can make it`,
      );
    }
    await functions.addNamespace(namespace);
    directory.changed(EVERY_NAMESPACE);
    await functions.announce(EVERY_NAMESPACE);
    // Workers listen on the lanes of the namespaces that they know. The load that follows must not wait for their next look.
    await this.#tellWorkers(encodeLaneFrame(LaneKind.REFRESH, { id: '' }));
  }

  async #tellWorkers(frame: Buffer): Promise<void> {
    const { commands } = this.#options;
    const workers = await commands.zrange(keys.workers(), 0, '-1');
    await Promise.all(
      workers.map(async (id) => {
        // Dead workers get no message, because their lists have no reader.
        if ((await commands.exists(keys.worker(id))) === 1) await commands.rpush(keys.control(id), frame);
      }),
    );
  }

  /** Makes a worker load the version. Throws `load_failed` when the function's own code failed. */
  async #load(target: Target): Promise<RunReport> {
    const { dispatcher } = this.#options;
    const invocation = new Invocation(
      target,
      { method: 'LOAD', path: '/', traceparent: undefined, tracestate: undefined },
      performance.now(),
    );
    const { id, traceparent } = invocation;
    const payload = [
      encodePayload(
        { kind: 'event', method: 'POST', url: 'http://localhost/', headers: [] },
        Buffer.alloc(0),
      ),
    ];
    const ended = await new Promise<RunReport | Failure>((resolve) => {
      const unexpected = (): void =>
        resolve({ outcome: 'platform_error', message: 'a load was answered with a stream' });
      dispatcher.invoke(
        { id, target, operation: 'load', traceparent, payload },
        {
          result: (_payload, report) => resolve(report),
          failed: resolve,
          head: unexpected,
          chunk: unexpected,
          end: unexpected,
        },
      );
    });
    if ('timings' in ended && ended.outcome === 'ok') return ended;
    const failure: Failure =
      'timings' in ended
        ? { outcome: ended.outcome === 'ok' ? 'platform_error' : ended.outcome, report: ended }
        : ended;
    if (failure.error) throw failure.error;
    if (OUTCOMES[failure.outcome].fault === 'system') throw new LoadNotDone(id, failure);
    throw await this.#loadFailed(id, failure);
  }

  async #loadFailed(id: string, { outcome, report }: Failure): Promise<OffshootError> {
    const logs = await this.#logsOf(id, (report?.logBytes ?? 0) > 0);
    const error = report?.error;
    const details: LoadFailure = { outcome, logs, ...(error && { error }) };
    const cause = error ? `${error.name}: ${error.message}` : report?.exitCause;
    return new OffshootError(
      'load_failed',
      `the new version was not activated: ${OUTCOMES[outcome].meaning}${cause ? ` (${cause})` : ''}`,
      { details },
    );
  }

  async #logsOf(id: string, expected: boolean): Promise<LogLine[]> {
    const patience = performance.now() + LOGS_PATIENCE_MS;
    for (;;) {
      const logs = await this.#options.invocations.logs(id);
      if (logs.length > 0 || !expected || performance.now() > patience) return logs;
      await new Promise((resolve) => setTimeout(resolve, LOGS_RETRY_MS));
    }
  }

  /** Time for which calls may be under way to a version from which others took over. */
  get #underWayMs(): number {
    return KNOWN_MS + this.#options.queueTimeoutMs;
  }

  async #activateLoaded(
    namespace: string,
    name: string,
    version: number,
    settings: FunctionSettings,
  ): Promise<void> {
    const { functions } = this.#options;
    const activated = await functions.deployed(namespace, name, version, settings, this.#underWayMs);
    if (activated === 'newer') {
      throw new OffshootError('conflict', `a newer version of "${name}" was deployed at the same time`);
    }
    if (activated === 'absent')
      throw new OffshootError('conflict', `"${name}" was deleted during the deploy`);
  }

  async #changed(change: string): Promise<void> {
    this.#options.directory.changed(change);
    await this.#options.functions.announce(change);
  }
}
