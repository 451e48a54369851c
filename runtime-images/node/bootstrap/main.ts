/**
 * Entry point of a Node image's zygote. It warms the runtime up, then blocks in C; in each fork it returns from there and goes on
 * as a sandbox. See ARCHITECTURE.md, "Fork, don't boot".
 */
import { actAsInit } from './sandbox/act-as-init.ts';
import { becomeSandbox } from './sandbox/become-sandbox.ts';
import { captureLogs } from './runtime/capture-logs.ts';
import { watchOthers } from './sandbox/others.ts';
import { rehearse } from './zygote/rehearse.ts';
import { SandboxRuntime } from './sandbox/run-sandbox.ts';
import { installShims } from './runtime/shims.ts';
import { FixedLengthStream } from './handlers/body.ts';
import { installAwsLambda } from './handlers/lambda/stream.ts';
import { installDecodedFetch } from './runtime/decoded-fetch.ts';
import { noticeServers } from './sandbox/listening.ts';
import { warmUp } from './zygote/warm-up.ts';

export interface ZygoteAddon {
  /** Blocks. Returns the channel's descriptor in a prepared sandbox, or -1 in the zygote when its worker has gone. */
  serve(controlFd: number): number;
  /** Does this prepared sandbox know already which function it will run? */
  isTold(): boolean;
  /** Blocks until the function is known and the sandbox is isolated; ends the process when isolation fails. */
  isolate(): void;
  /** May the next invocation that was handed ahead start? 1: yes; 0: never; -1: not yet. */
  takeTurn(): number;
  /** Returns two connected stream sockets. */
  socketpair(): [number, number];
  /** Returns 31 random bits from the kernel, getrandom(2). */
  randomSeed(): number;
  /** Ends a forked process by _exit(2), the only way that works there. */
  exit(code: number): never;
  /** Reaps adopted children; returns how many ended ones need one more look. */
  reapOrphans(): number;
  /** Does the sandbox have any process beside this one? */
  hasChildren(): boolean;
  /** Drops the mapped pages of code and constants; pages that are used again come back from the page cache. */
  forgetFiles(): void;
  /** Blocks until the sandbox is ended. */
  halt(): never;
}

/** Descriptor at which the launcher puts the control socket. */
const CONTROL_FD = 3;

// oxlint-disable-next-line import/no-absolute-path -- the addon's place in the image; a native addon can only be required.
const addon = require('/opt/offshoot/zygote.node') as ZygoteAddon;

let runtime: SandboxRuntime | undefined;
installShims();
installDecodedFetch();
installAwsLambda();
noticeServers();
Object.defineProperty(globalThis, 'FixedLengthStream', {
  value: FixedLengthStream,
  writable: true,
  configurable: true,
});
captureLogs((handle, level, text) => runtime?.log(handle, level, text));

void rehearse(addon, (rehearsed) => {
  runtime = rehearsed;
}).then(async () => {
  runtime = undefined;
  const channelFd = addon.serve(CONTROL_FD);
  if (channelFd < 0) addon.exit(0);
  becomeSandbox(addon);
  // The event loop must not turn before the sandbox is isolated, since until then it is the zygote's. The awaits here settle by
  // microtasks alone, which run to their end first.
  if (!addon.isTold()) await warmUp();
  addon.isolate();
  const own = new SandboxRuntime(
    channelFd,
    () => addon.takeTurn(),
    (code) => addon.exit(code),
    watchOthers(() => addon.hasChildren()),
  );
  runtime = own;
  actAsInit(addon, (signal) => own.endBySignal(signal, () => addon.halt()));
  process.on('exit', own.flush);
  // Without this handler, Node would print the error and leave by an exit that fails in a forked process.
  process.on('uncaughtException', (error) => own.fail(error));
});
