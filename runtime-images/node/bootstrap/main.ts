/**
 * Entry point of a Node image's zygote. It warms the runtime up, then blocks in C; in each fork it returns from there and goes on
 * as a sandbox. See ARCHITECTURE.md, "Fork, don't boot".
 */
import { BASE_ENVIRONMENT } from '#contract/functions/start-variables.ts';
import { actAsInit } from './sandbox/act-as-init.ts';
import { becomeSandbox } from './sandbox/become-sandbox.ts';
import type { ZygoteAddon } from './runtime/addon.ts';
import { beginLife, installClocks } from './sandbox/begin-life.ts';
import { captureLogs } from './output/capture-logs.ts';
import { watchClosedNetwork } from './runtime/closed-network.ts';
import { watchOthers } from './sandbox/others.ts';
import { rehearse } from './zygote/rehearse.ts';
import { applyStartVariables } from './sandbox/start-variables.ts';
import { SandboxRuntime } from './sandbox/run-sandbox.ts';
import { prepareStacks } from './runtime/prepare-stack.ts';
import { watchSignals } from './handlers/stop-hooks.ts';
import { installShims } from './runtime/shims.ts';
import { captureThreads } from './output/thread-output.ts';
import { showWarnings } from './output/show-warnings.ts';
import { watchUncaught } from './sandbox/watch-uncaught.ts';
import { FixedLengthStream } from './handlers/body.ts';
import { installAwsLambda } from './handlers/lambda/stream.ts';
import { installDecodedFetch } from './runtime/decoded-fetch.ts';
import { noticeServers } from './sandbox/listening.ts';
import { warmUp } from './zygote/warm-up.ts';

/** Descriptor at which the launcher puts the control socket. */
const CONTROL_FD = 3;

// oxlint-disable-next-line import/no-absolute-path -- the addon's place in the image; a native addon can only be required.
const addon = require('/opt/offshoot/zygote.node') as ZygoteAddon;

let runtime: SandboxRuntime | undefined;
// Here and not in the sandbox, so that no start pays for it.
Object.assign(process.env, BASE_ENVIRONMENT);
installShims();
watchSignals();
installDecodedFetch();
installAwsLambda();
noticeServers();
Object.defineProperty(globalThis, 'FixedLengthStream', {
  value: FixedLengthStream,
  writable: true,
  configurable: true,
});
installClocks();
prepareStacks();
captureThreads();
captureLogs((handle, origin, text) => runtime?.log(handle, origin, text));
watchClosedNetwork((handle, to) => runtime?.unreached(handle, to));

void rehearse(addon, (rehearsed) => {
  runtime = rehearsed;
}).then(async () => {
  runtime = undefined;
  const channelFd = addon.serve(CONTROL_FD);
  if (channelFd < 0) addon.exit(0);
  becomeSandbox(addon, (code) => runtime?.exits(code));
  // The event loop must not turn before the sandbox is isolated, since until then it is the zygote's. The awaits here settle by
  // microtasks alone, which run to their end first.
  if (!addon.isTold()) await warmUp();
  addon.isolate();
  beginLife();
  const own = new SandboxRuntime(
    channelFd,
    () => addon.takeTurn(),
    (code) => addon.exit(code),
    watchOthers(() => addon.hasChildren()),
    (init) => {
      addon.limitMemory(init.memory);
      return applyStartVariables(init.env, (name) => addon.setLocale(name));
    },
  );
  runtime = own;
  actAsInit(addon, (signal) => own.endBySignal(signal, () => addon.halt()));
  showWarnings();
  watchUncaught(own);
});
