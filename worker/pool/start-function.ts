/** Starts a sandbox, or takes a prepared one, and has it load a function. All ways in which that can fail become one error. */
import { StringDecoder } from 'node:string_decoder';
import { ChannelKind } from '#contract/wire/channel.ts';
import { DEFAULT_LOG_BYTES } from '#contract/functions/limits.ts';
import { kindOf, type RuntimeKind } from '#contract/functions/runtimes.ts';
import { unmetRequirements } from '#contract/functions/isolation.ts';
import type { AcquireKind } from '#contract/invocations/invocation.ts';
import type { LoadFailure } from '#contract/invocations/outcome.ts';
import type { CodeStore } from '../code/code-store.ts';
import { blameMemory, blamePids, whyEnded } from '../sandbox/zygote/exit-cause.ts';
import type { LoadedVersion } from '../code/version-cache.ts';
import { readLogFrame, refusedLine, type LogText } from '../run/invocation-log.ts';
import { refusedNetworkLine, Unreached } from '../run/refused-network.ts';
import type { SandboxNetwork } from '../network/egress.ts';
import type { Networks } from '../network/networks.ts';
import type { IsolationFacts } from '../sandbox/isolation-facts.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { SandboxStartError, type FileLimits } from '../sandbox/specialise.ts';
import type { Exit } from '../sandbox/zygote/zygote.ts';
import type { Receipts } from './receipts.ts';
import type { Zygotes } from './zygotes.ts';
import type { SandboxFactory } from './sandbox-factory.ts';

/** Upper bounds on kept output of a module's load: pieces, and bytes in all. The rest is dropped. */
const MAX_LOAD_OUTPUT_LINES = 1_000;
const MAX_LOAD_OUTPUT_BYTES = DEFAULT_LOG_BYTES;

export interface Started {
  readonly sandbox: Sandbox;
  readonly kind: AcquireKind;
  readonly initMs: number;
  /** Processor time in milliseconds until the module was loaded. */
  readonly startCpuMs: number;
  readonly loadOutput: LogText[];
}

/** The function could not be loaded, and its sandbox is gone; the fields say why. */
export class LoadFailedError extends Error {
  override readonly name = 'LoadFailedError';
  readonly reason: LoadFailure;
  readonly exit: Exit | undefined;
  /** JSON of the error that the module threw, unchecked. */
  readonly thrown: Buffer | undefined;
  readonly loadOutput: LogText[];
  /** The same as in Started. */
  readonly startCpuMs: number;

  constructor(
    reason: LoadFailure,
    message: string,
    facts: {
      exit?: Exit | undefined;
      thrown?: Buffer | undefined;
      loadOutput?: LogText[];
      startCpuMs?: number;
    } = {},
  ) {
    super(message);
    this.reason = reason;
    this.exit = facts.exit;
    this.thrown = facts.thrown;
    this.loadOutput = facts.loadOutput ?? [];
    this.startCpuMs = facts.startCpuMs ?? 0;
  }
}

interface Parts {
  readonly code: CodeStore;
  readonly zygotes: Zygotes;
  readonly factory: SandboxFactory;
  readonly networks: Networks;
  readonly receipts: Receipts;
}

/** Starts the version in a sandbox. Throws LoadFailedError, after the processes of the failed sandbox are gone. */
export async function startFunction(
  version: LoadedVersion,
  parts: Parts,
  takePrepared: () => Sandbox | undefined,
): Promise<Started> {
  const { settings, namespace, name } = version;
  let taken: Taken;
  let limits: FileLimits;
  let network: SandboxNetwork | undefined;
  try {
    taken = await takeSandbox(version, parts, takePrepared);
    const { sandbox } = taken;
    limits = parts.factory.limit(sandbox, settings);
    network = await networkOf(sandbox, version, parts.networks);
  } catch (error) {
    throw new LoadFailedError('platform_error', error instanceof Error ? error.message : String(error));
  }
  const { sandbox, kind, directory } = taken;

  const loadOutput: LogText[] = [];
  const unreached = new Unreached();
  let loadBytes = 0;
  let cutBytes = 0;
  const decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') };
  const collect = (bytes: number, read: () => LogText | undefined): void => {
    if (loadOutput.length >= MAX_LOAD_OUTPUT_LINES || loadBytes >= MAX_LOAD_OUTPUT_BYTES) {
      cutBytes += bytes;
      return sandbox.flow.discarded(bytes);
    }
    const line = read();
    if (!line) return;
    loadBytes += bytes;
    loadOutput.push(line);
  };
  /** Joins output to the piece before if that ends in the middle of a line, since the number of pieces is limited. */
  const joined = (piece: LogText): LogText => {
    const { level, text } = piece;
    const last = loadOutput.at(-1);
    const goesOn = last?.level === level && (level === 'stdout' || level === 'stderr');
    const before = goesOn && !last.text.endsWith('\n') ? loadOutput.pop() : undefined;
    return before ? { ...before, text: before.text + text } : piece;
  };
  /** Returns the load's output for the first invocation's log. */
  const output = (): LogText[] => {
    const refused = refusedNetworkLine(sandbox, unreached.list(), network !== undefined);
    if (refused) loadOutput.push(refused);
    const text = `${cutBytes} bytes that the module printed while it was loaded were cut: ${MAX_LOAD_OUTPUT_LINES} pieces and ${MAX_LOAD_OUTPUT_BYTES} bytes of it are kept`;
    return cutBytes === 0 ? loadOutput : [...loadOutput, { time: Date.now(), level: 'platform', text }];
  };
  sandbox.onUnclaimed = {
    begun: () => undefined,
    withdrawn: () => undefined,
    frame: (frameKind, payload) => {
      if (frameKind === ChannelKind.UNREACHED) return unreached.add(payload);
      if (frameKind === ChannelKind.LOG)
        collect(payload.length, () => {
          const text = readLogFrame(payload);
          return text && joined(text);
        });
    },
    output: (level, bytes) =>
      collect(bytes.length, () => joined({ time: Date.now(), level, text: decoders[level].write(bytes) })),
    refused: (call) =>
      collect(call.length, () => ({ time: Date.now(), level: 'platform', text: refusedLine(call) })),
  };
  const init = {
    namespace,
    name,
    version: version.version,
    entry: version.entryFile,
    env: settings.env,
    memory: settings.memory,
    timeout: settings.timeout,
    initTimeout: settings.initTimeout,
    payloadFormat: settings.payloadFormat,
    concurrency: settings.concurrency,
    tracing: settings.tracing,
  };
  const approve = approval(version, sandbox, parts);
  const { isolated, ready } = sandbox.specialise(directory, name, init, limits, network, approve);
  let timedOut = false;
  const clock = setTimeout(() => {
    timedOut = true;
    sandbox.kill('load_timeout');
  }, settings.initTimeout * 1000);
  try {
    await isolated;
    const start = performance.now();
    await ready;
    sandbox.usage.memoryPeak();
    // The module has survived the loss of a child process, but no call should be served by the remains.
    if (sandbox.endIfOutOfMemory()) throw new SandboxStartError('a process of it ran out of memory');
    sandbox.usage.rests();
    const initMs = performance.now() - start;
    return { sandbox, kind, initMs, startCpuMs: sandbox.usage.cpuMs(), loadOutput: output() };
  } catch (error) {
    // A sandbox that ended before this counts as ended by itself.
    sandbox.kill('load_error');
    const exit = await sandbox.ended;
    if (error instanceof LoadFailedError) throw error;
    const { oomKills, pidsRefused, cpuMs } = sandbox.usage.now;
    const thrown = error instanceof SandboxStartError ? error.payload : undefined;
    const message = error instanceof Error ? error.message : String(error);
    throw new LoadFailedError(
      classify({ timedOut, oomKills, pidsRefused, thrown, exit, kind: kindOf(version.settings.runtime) }),
      message,
      {
        exit,
        thrown,
        loadOutput: output(),
        startCpuMs: cpuMs,
      },
    );
  } finally {
    clearTimeout(clock);
    sandbox.onUnclaimed = undefined;
  }
}

interface Taken {
  readonly sandbox: Sandbox;
  readonly kind: AcquireKind;
  /** Directory of its code, below the namespace's store; it stays as long as the sandbox lives. */
  readonly directory: string;
}

async function takeSandbox(
  { namespace, digest, settings }: LoadedVersion,
  parts: Parts,
  takePrepared: () => Sandbox | undefined,
): Promise<Taken> {
  const code = await parts.code.hold(namespace, digest);
  try {
    const prepared = takePrepared();
    const sandbox = prepared ?? parts.factory.start(await parts.zygotes.get(settings.runtime, namespace));
    void sandbox.ended.then(code.release);
    return { sandbox, kind: prepared ? 'prepared' : 'cold', directory: code.directory };
  } catch (error) {
    code.release();
    throw error;
  }
}

/** Puts the rules of the network in place. On failure the sandbox is ended, so that none is left over. */
async function networkOf(
  sandbox: Sandbox,
  version: LoadedVersion,
  networks: Networks,
): Promise<SandboxNetwork | undefined> {
  try {
    return await networks.assign(sandbox.zygote, version);
  } catch (error) {
    sandbox.kill('platform_error');
    await sandbox.ended;
    throw error;
  }
}

/** Returns a check of the isolation; only a function that requires something of its isolation waits for it. */
function approval(
  version: LoadedVersion,
  sandbox: Sandbox,
  { receipts }: Parts,
): ((facts: IsolationFacts) => void) | undefined {
  const { require } = version.settings.isolation;
  if (require.length === 0) return undefined;
  return (facts) => {
    const unmet = unmetRequirements(require, receipts.make(sandbox, facts, version));
    if (unmet.length === 0) return;
    throw new LoadFailedError('isolation_unmet', `this host does not give: ${unmet.join(', ')}`);
  };
}

const SETUP_FAILED_STATUS = 70;

function classify(facts: {
  timedOut: boolean;
  oomKills: number;
  pidsRefused: number;
  thrown: Buffer | undefined;
  exit: Exit;
  kind: RuntimeKind;
}): LoadFailure {
  const { exit, thrown, pidsRefused, kind } = facts;
  if (facts.timedOut) return 'load_timeout';
  if (exit.code === SETUP_FAILED_STATUS && !thrown) return 'platform_error';
  const why = thrown && facts.oomKills === 0 ? 'load_error' : whyEnded(exit, facts.oomKills);
  const error = thrown?.toString('utf8');
  return blameMemory(blamePids(why, pidsRefused, error, kind), error, kind);
}
