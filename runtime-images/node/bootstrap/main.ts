/**
 * What the zygote of a Node image runs: it warms the runtime up, then blocks in C. From there it comes back once in each
 * sandbox, and goes on as that sandbox. See ARCHITECTURE.md, "Fork, don't boot".
 */
import { becomeSandbox } from './become-sandbox.ts';
import { runSandbox } from './run-sandbox.ts';
import { warmUp } from './warm-up.ts';

export interface ZygoteAddon {
  /** Blocks. Returns the descriptor of the channel in a sandbox, or -1 in the zygote when its worker has gone. */
  serve(controlFd: number): number;
  /** _exit(2), the only way out of a forked process. */
  exit(code: number): never;
}

/** The launcher puts the control socket here. */
const CONTROL_FD = 3;

// eslint-disable-next-line typescript/no-require-imports -- a native addon can only be required.
const addon = require('/opt/offshoot/zygote.node') as ZygoteAddon;

void warmUp().then(() => {
  const channelFd = addon.serve(CONTROL_FD);
  if (channelFd < 0) addon.exit(0);
  becomeSandbox(addon);
  runSandbox(channelFd, addon);
});
