/** One datagram to a service manager, sd_notify(3). Node has no datagram sockets of the unix family, so the way is native. */
import { createRequire } from 'node:module';

interface Addon {
  /** Sends without waiting. Throws when nobody can be reached there. */
  notify(socket: string, text: string): void;
}

let addon: Addon | undefined;

/** Tells `socket`, the path in NOTIFY_SOCKET (`@` for one without a file), such as `READY=1`. Throws when it cannot. */
export function notify(socket: string, text: string): void {
  // Loaded where there is a manager only: elsewhere it need not be built.
  addon ??= createRequire(import.meta.url)('../worker/native/build/notify.node') as Addon;
  addon.notify(socket, text);
}
