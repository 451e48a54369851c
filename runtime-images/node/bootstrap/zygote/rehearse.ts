/**
 * Plays a whole life of a sandbox in the zygote, against a fake worker. This loads built-in modules and compiles the code of an
 * invocation, so a function's first call does not pay for that.
 *
 * The rehearsal must end with nothing in flight and no descriptor left open, and must draw no randomness: each fork inherits all
 * that is left here.
 */
import '../runtime/builtins.ts';
import { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { ChannelKind, ChannelReader, encodeChannelFrame, putInvoke } from '#contract/wire/channel.ts';
import { collectGarbage } from '../runtime/collect-garbage.ts';
import { describeError } from '../runtime/describe-error.ts';
import type { ZygoteAddon } from '../runtime/addon.ts';
import { SandboxRuntime } from '../sandbox/run-sandbox.ts';
import { sampleInit, sampleRequest } from './sample-call.ts';

/** Number of rehearsed calls: enough for the interpreter's caches; more is not worth a longer start. */
const INVOCATIONS = 20;

/** The rehearsal's function, beside the bootstrap in the image. */
const SAMPLE = '../../opt/offshoot/sample.mjs';

export async function rehearse(
  addon: ZygoteAddon,
  onRuntime: (runtime: SandboxRuntime) => void,
): Promise<void> {
  // The start of the runtime touched many pages that are never used again, and each fork would copy them.
  addon.forgetFiles();
  const [workerFd, sandboxFd] = addon.socketpair();
  const worker = new Socket({ fd: workerFd, readable: true, writable: true });
  const ended = Promise.withResolvers<void>();
  onRuntime(
    new SandboxRuntime(
      sandboxFd,
      alwaysMyTurn,
      () => ended.resolve(),
      nobodyElse,
      () => Promise.resolve(),
    ),
  );

  let left = INVOCATIONS;
  const reader = new ChannelReader(1024 * 1024, (kind) => {
    if (kind === ChannelKind.READY || (kind === ChannelKind.SETTLED && --left > 0))
      worker.write(sampleCall(left));
    if (kind === ChannelKind.LOAD_FAILED || left === 0) worker.end();
  });
  worker.on('data', (chunk: Buffer) => reader.push(chunk));
  worker.write(encodeChannelFrame(ChannelKind.INIT, 0, Buffer.from(JSON.stringify(sampleInit(SAMPLE)))));
  await ended.promise;
  await new Promise((resolve) => {
    if (worker.closed) resolve(undefined);
    else worker.once('close', resolve);
  });
  describeError(new Error('rehearsal'));
  // V8 would plan another collection for later, by a task that waits in the event loop.
  setFlagsFromString('--no-memory-reducer');
  collectGarbage();
  setFlagsFromString('--memory-reducer');
  // Callbacks of collected objects wait in the event loop for their turn.
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Stands in for ZygoteAddon.takeTurn: no other call competes for a turn. */
function alwaysMyTurn(): number {
  return 1;
}

/** Stands in for `others`: no function is there to start anything. */
function nobodyElse(): number {
  return 0;
}

function sampleCall(handle: number): Buffer {
  const context = Buffer.from(JSON.stringify({ id: '', remainingMs: 1, traceparent: '' }));
  const request = sampleRequest(handle % 2 === 0 ? 'POST' : 'GET');
  return encodeChannelFrame(ChannelKind.INVOKE, handle, ...putInvoke({ context, request }));
}
