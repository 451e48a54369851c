/**
 * What the zygote of a Node image runs: it warms the runtime up, then blocks in C. From there it comes back once in each
 * sandbox, and goes on as that sandbox. See ARCHITECTURE.md, "Fork, don't boot".
 */
import { actAsInit } from './act-as-init.ts';
import { becomeSandbox } from './become-sandbox.ts';
import { captureLogs } from './capture-logs.ts';
import { watchOthers } from './others.ts';
import { rehearse } from './rehearse.ts';
import { SandboxRuntime } from './run-sandbox.ts';
import { installShims } from './shims.ts';
import { warmUp } from './warm-up.ts';

export interface ZygoteAddon {
  /** Blocks. Returns the descriptor of the channel in a prepared sandbox, or -1 in the zygote when its worker has gone. */
  serve(controlFd: number): number;
  /** Is it known already which function this prepared sandbox shall run? */
  isTold(): boolean;
  /** Blocks until that is known. Returns when the sandbox is isolated; ends the process when that fails. */
  isolate(): void;
  /** May the next invocation that was handed ahead start? 1: yes; 0: never; -1: not yet. */
  takeTurn(): number;
  /** Two connected stream sockets. */
  socketpair(): [number, number];
  /** 31 bits of the kernel's randomness, getrandom(2). */
  randomSeed(): number;
  /** _exit(2), the only way out of a forked process. */
  exit(code: number): never;
  /** Waits for adopted children; gives how many ended ones one more look is due for. */
  reapOrphans(): number;
  /** Is there any process in the sandbox beside this one? */
  hasChildren(): boolean;
  /** Drops what is mapped of code and constants; what is used again comes back from the page cache. */
  forgetFiles(): void;
  /** Waits for the end of the sandbox. */
  halt(): never;
}

/** The launcher puts the control socket here. */
const CONTROL_FD = 3;

// oxlint-disable-next-line import/no-absolute-path -- its place in the image; a native addon can only be required.
const addon = require('/opt/offshoot/zygote.node') as ZygoteAddon;

let runtime: SandboxRuntime | undefined;
installShims();
captureLogs((handle, level, text) => runtime?.log(handle, level, text));

void rehearse(addon, (rehearsed) => {
  runtime = rehearsed;
}).then(async () => {
  runtime = undefined;
  const channelFd = addon.serve(CONTROL_FD);
  if (channelFd < 0) addon.exit(0);
  becomeSandbox(addon);
  // The event loop must not turn before the sandbox is isolated: until then it is still the zygote's. What is awaited
  // here needs microtasks only, which run to their end first.
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
  // Without this, Node would print the error and leave by an exit that a forked process cannot take.
  process.on('uncaughtException', (error) => own.fail(error));
});
