/**
 * Tells the worker which names and addresses a function could not reach. A sandbox without `network.egress` has no network, so
 * no packet leaves it and only the runtime knows the destination. Clients hide it: many report "connection error" and no more.
 */
import { subscribe } from 'node:diagnostics_channel';
import { errorMonitor, type EventEmitter } from 'node:events';
import { currentHandle } from '../output/capture-logs.ts';

type Tell = (handle: number, destination: string) => void;

/** Errors of a name or an address that is out of reach. A refusal of the own loopback is none of them. */
const UNREACHED = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'ESERVFAIL']);
/** Error of a question to a name server on the own loopback, where none is. */
const NO_NAME_SERVER = 'ECONNREFUSED';
/** Upper bound on the causes that are followed: an error may be its own cause. */
const MAX_DEPTH = 8;

interface Failure {
  readonly code?: unknown;
  readonly syscall?: unknown;
  readonly hostname?: unknown;
  readonly address?: unknown;
  readonly port?: unknown;
  readonly errors?: readonly unknown[];
  readonly cause?: unknown;
}

/** Watches all sockets that this process connects. To be called once, before the function is loaded. */
export function watchClosedNetwork(tell: Tell): void {
  const report = (handle: number, thrown: unknown): void => {
    for (const to of destinationsOf(thrown)) tell(handle, to);
  };
  const watch = (message: unknown): void => {
    const handle = currentHandle.getStore() ?? 0;
    // The monitor sees an error and handles none: an error without a handler still ends the function.
    (message as { socket: EventEmitter }).socket.once(errorMonitor, (error) => report(handle, error));
  };
  subscribe('net.client.socket', watch);
}

/**
 * Returns the destinations in an error, its causes and its parts. So a lookup that no socket made is seen when its error is thrown.
 * Watching `node:dns` itself would load it in the zygote, and its resolver would keep the zygote's name servers.
 */
export function destinationsOf(thrown: unknown, depth = 0): string[] {
  if (typeof thrown !== 'object' || thrown === null || depth > MAX_DEPTH) return [];
  const { code, syscall, hostname, address, port, errors, cause } = thrown as Failure;
  const inside = [...(Array.isArray(errors) ? errors.slice(0, MAX_DEPTH) : []), cause];
  const found = inside.flatMap((error) => destinationsOf(error, depth + 1));
  const isQuery = typeof syscall === 'string' && syscall.startsWith('query');
  if (!UNREACHED.has(String(code)) && !(isQuery && code === NO_NAME_SERVER)) return found;
  if (typeof hostname === 'string' && hostname !== '') return [`dns ${hostname}`, ...found];
  if (typeof address !== 'string') return found;
  return [`tcp ${address}${typeof port === 'number' && port > 0 ? `:${port}` : ''}`, ...found];
}
