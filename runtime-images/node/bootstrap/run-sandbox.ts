/**
 * The life of a sandbox after its isolation: it is told which function it is, loads it, and answers invocations until
 * the worker closes the channel.
 */
import { Socket } from 'node:net';
import {
  ChannelKind,
  ChannelReader,
  encodeChannelFrame,
  type InvokeContext,
  type SandboxInit,
} from '#contract/channel.ts';
import { captureLogs, currentHandle } from './capture-logs.ts';
import { describeError } from './describe-error.ts';
import { BadResponseError, type FunctionContext, type Invocation } from './invocation.ts';
import { loadFunction, type LoadedFunction } from './load-function.ts';
import type { ZygoteAddon } from './main.ts';

/** Frames from the worker are trusted; this only bounds a mistake. */
const MAX_WORKER_FRAME_BYTES = 1024 * 1024 * 1024;

export function runSandbox(channelFd: number, addon: ZygoteAddon): void {
  const channel = new Socket({ fd: channelFd, readable: true, writable: true });
  const flush = (): void => {
    while (channel.writableCorked > 0) channel.uncork();
  };
  // A result and the SETTLED that nearly always follows it leave in one system call.
  const send = (kind: ChannelKind, handle: number, ...payload: Uint8Array[]): boolean => {
    if (channel.writableCorked === 0) {
      channel.cork();
      process.nextTick(flush);
    }
    return channel.write(encodeChannelFrame(kind, handle, ...payload));
  };
  captureLogs((handle, level, text) => {
    // At once: what a function said before it crashed is what its author wants to read.
    flush();
    channel.write(encodeChannelFrame(ChannelKind.LOG, handle, level, text));
  });
  process.on('exit', flush);

  const running = new Set<number>();
  let loaded: LoadedFunction | undefined;
  const reader = new ChannelReader(MAX_WORKER_FRAME_BYTES, (kind, handle, payload) => {
    if (kind === ChannelKind.INIT) void load(JSON.parse(payload.toString('utf8')) as SandboxInit);
    if (kind === ChannelKind.INVOKE && loaded) void invoke(loaded, handle, payload);
  });
  channel.on('data', (chunk: Buffer) => reader.push(chunk));
  // The worker has gone or wants this sandbox no more.
  channel.on('close', () => addon.exit(0));
  channel.on('error', () => addon.exit(0));

  const endAfter = (kind: ChannelKind, handle: number, ...payload: Uint8Array[]): void => {
    channel.write(encodeChannelFrame(kind, handle, ...payload), () => addon.exit(1));
  };

  // Without these, Node would print the error and leave by an exit that a forked process cannot take.
  const onFatal = (error: unknown): void => {
    const described = describeError(error);
    console.error(described.stack ?? `${described.name}: ${described.message}`);
    const report = failure('error', described);
    for (const handle of running) channel.write(encodeChannelFrame(ChannelKind.FAILED, handle, report));
    if (loaded) channel.end(() => addon.exit(1));
    else endAfter(ChannelKind.LOAD_FAILED, 0, Buffer.from(JSON.stringify(described)));
  };
  process.on('uncaughtException', onFatal);

  async function load(init: SandboxInit): Promise<void> {
    const start = performance.now();
    Object.assign(process.env, init.env);
    process.argv = [process.argv[0] ?? 'node', `/var/task/${init.entry}`];
    try {
      loaded = await loadFunction(init);
      send(
        ChannelKind.READY,
        0,
        Buffer.from(JSON.stringify({ init: performance.now() - start, form: loaded.form })),
      );
    } catch (error) {
      endAfter(ChannelKind.LOAD_FAILED, 0, Buffer.from(JSON.stringify(describeError(error))));
    }
  }

  async function invoke(target: LoadedFunction, handle: number, payload: Buffer): Promise<void> {
    const contextEnd = 4 + payload.readUInt32LE(0);
    const told = JSON.parse(payload.toString('utf8', 4, contextEnd)) as InvokeContext;
    const invocation: Invocation = {
      handle,
      context: told,
      send: (kind, ...parts) => void send(kind, handle, ...parts),
      sendAndWait: async (kind, ...parts) => {
        if (send(kind, handle, ...parts)) return;
        await new Promise<void>((resolve) => {
          channel.once('drain', resolve);
        });
      },
    };
    const pending = new Set<Promise<unknown>>();
    running.add(handle);
    await currentHandle.run(handle, async () => {
      try {
        await target.answer(invocation, payload.subarray(contextEnd), toContext(told, pending));
      } catch (error) {
        const outcome = error instanceof BadResponseError ? 'bad_response' : 'error';
        const described = describeError(error);
        console.error(described.stack ?? `${described.name}: ${described.message}`);
        send(ChannelKind.FAILED, handle, failure(outcome, described));
      }
      running.delete(handle);
      while (pending.size > 0) await Promise.allSettled(pending);
      send(ChannelKind.SETTLED, handle);
    });
  }

  function toContext(told: InvokeContext, pending: Set<Promise<unknown>>): FunctionContext {
    const deadline = performance.now() + told.remainingMs;
    return {
      invocationId: told.id,
      traceparent: told.traceparent,
      remainingMs: () => Math.max(0, deadline - performance.now()),
      waitUntil: (promise) => {
        const settled = Promise.resolve(promise)
          .catch((error: unknown) => console.error('waitUntil:', error))
          .finally(() => pending.delete(settled));
        pending.add(settled);
      },
    };
  }
}

function failure(outcome: 'error' | 'bad_response', error: ReturnType<typeof describeError>): Buffer {
  return Buffer.from(JSON.stringify({ outcome, error }));
}
