/** Gives a sandbox its function: sends the order, and waits until the sandbox is isolated and has loaded the module. */
import {
  ChannelKind,
  encodeChannelFrame,
  type SandboxInit,
  HANDLER_NAMES,
  type HandlerName,
  type ReadyReport,
} from '#contract/wire/channel.ts';
import type { SandboxNetwork } from '../network/egress.ts';
import type { SandboxChannel } from './channel.ts';
import { readIsolation, type IsolationFacts } from './isolation-facts.ts';
import { specialiseFrame, type FileLimits } from './specialise.ts';

export interface StartOrder {
  /** Directory of its code, below the namespace's store. */
  readonly code: string;
  readonly hostname: string;
  readonly init: SandboxInit;
  readonly limits: FileLimits;
  readonly network?: SandboxNetwork | undefined;
  /** Checks the isolation before the function is named; `isolated` rejects with an error that it throws. */
  readonly approve?: ((facts: IsolationFacts) => void) | undefined;
}

/** The two steps of a start. Both reject when the sandbox ends instead. */
export interface StartUp<Ready = Buffer> {
  /** Settles when the sandbox is isolated, with the microseconds of each phase. */
  readonly isolated: Promise<number[]>;
  /** Settles when the function is loaded, with the payload of READY. */
  readonly ready: Promise<Ready>;
}

/** `onIsolated` gets the sandbox's own report, before `approve` checks it. */
export function startUp(
  channel: SandboxChannel,
  { code, hostname, init, limits, network, approve }: StartOrder,
  onIsolated: (facts: IsolationFacts) => void,
): StartUp {
  const told = encodeChannelFrame(ChannelKind.INIT, 0, Buffer.from(JSON.stringify(init)));
  const isolated = channel.expect(ChannelKind.ISOLATED).then((payload) => {
    const { phases, facts } = readIsolation(payload);
    onIsolated(facts);
    if (approve) {
      approve(facts);
      channel.write(told);
    }
    return phases;
  });
  const ready = channel.expect(ChannelKind.READY);
  isolated.catch(() => undefined);
  ready.catch(() => undefined);
  const order = specialiseFrame(code, hostname, limits);
  // With `approve`, INIT follows only after the check.
  const atOnce = approve ? [] : [told];
  if (network) {
    try {
      channel.writeWithDescriptor(order, network.namespace);
    } finally {
      network.joined();
    }
    for (const frame of atOnce) channel.write(frame);
  } else {
    // In one write: the second part waits in the socket until JavaScript runs.
    channel.write(Buffer.concat([order, ...atOnce]));
  }
  return { isolated, ready };
}

/**
 * Returns the handlers that the payload of READY names; undefined if it names none that can be read. The sandbox is not trusted:
 * names that do not exist are left out.
 */
export function readHandlers(payload: Buffer): readonly HandlerName[] | undefined {
  try {
    const { handlers } = JSON.parse(payload.toString('utf8')) as Partial<ReadyReport>;
    if (!Array.isArray(handlers)) return undefined;
    const told = new Set<unknown>(handlers);
    return HANDLER_NAMES.filter((name) => told.has(name));
  } catch {
    return undefined;
  }
}
