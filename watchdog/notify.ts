/**
 * Sends one datagram to a service manager, sd_notify(3). Node has no datagram sockets of the unix family, so a native addon sends
 * it.
 */
import { createRequire } from 'node:module';

interface Addon {
  /** Sends without blocking. Throws when the socket has no reader. */
  notify(socket: string, text: string): void;
}

let addon: Addon | undefined;

/** Sends `text`, such as `READY=1`, to `socket`, the path in NOTIFY_SOCKET (`@` for an abstract one). Throws when that fails. */
export function notify(socket: string, text: string): void {
  // Load the addon only where there is a manager: elsewhere it need not be built.
  addon ??= createRequire(import.meta.url)('../worker/native/build/notify.node') as Addon;
  addon.notify(socket, text);
}
