/**
 * Tells the worker which names and addresses a function could not reach. A sandbox without `network.egress` has no network, so
 * no packet leaves it and only the runtime knows the destination. Clients hide it: many report "connection error" and no more.
 */
import { subscribe } from 'node:diagnostics_channel';
import dns from 'node:dns';
import { errorMonitor, type EventEmitter } from 'node:events';
import { syncBuiltinESMExports } from 'node:module';
import { currentHandle } from './capture-logs.ts';

type Tell = (handle: number, destination: string) => void;

/** Errors of a name or an address that is out of reach. A refusal of the own loopback is none of them. */
const UNREACHED = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'ESERVFAIL']);
/** Error of a question to a name server on the own loopback, where none is. */
const NO_NAME_SERVER = 'ECONNREFUSED';
const LOOKUPS = /^(lookup$|resolve|reverse$)/;

interface Failure {
  readonly code?: unknown;
  readonly syscall?: unknown;
  readonly hostname?: unknown;
  readonly address?: unknown;
  readonly port?: unknown;
  readonly errors?: readonly Failure[];
}

/** Watches all sockets and name lookups of this process. To be called once, before the function is loaded. */
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
  watchLookups(dns as unknown as Lookups, report);
  watchLookups(dns.promises as unknown as Lookups, report);
  syncBuiltinESMExports();
}

type Lookups = Record<string, ((...given: unknown[]) => unknown) | undefined>;

/** Replaces the lookups of `api` by equal ones that also report failures. */
function watchLookups(api: Lookups, report: (handle: number, thrown: unknown) => void): void {
  for (const name of Object.keys(api).filter((key) => LOOKUPS.test(key))) {
    const original = api[name];
    if (typeof original !== 'function') continue;
    const watched = function watched(this: unknown, ...given: unknown[]): unknown {
      const handle = currentHandle.getStore() ?? 0;
      const done = given.at(-1);
      if (typeof done === 'function') {
        const answered = (error: unknown, ...rest: unknown[]): unknown => {
          if (error) report(handle, error);
          return (done as (...all: unknown[]) => unknown)(error, ...rest);
        };
        return Reflect.apply(original, this, [...given.slice(0, -1), answered]);
      }
      const result = Reflect.apply(original, this, given);
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        report(handle, error);
        throw error;
      });
    };
    // Its name, its length, and what util.promisify() looks for.
    Object.defineProperties(watched, Object.getOwnPropertyDescriptors(original));
    api[name] = watched;
  }
}

function destinationsOf(thrown: unknown): string[] {
  if (typeof thrown !== 'object' || thrown === null) return [];
  const { code, syscall, hostname, address, port, errors } = thrown as Failure;
  if (Array.isArray(errors)) return errors.flatMap((error) => destinationsOf(error));
  const isQuery = typeof syscall === 'string' && syscall.startsWith('query');
  if (!UNREACHED.has(String(code)) && !(isQuery && code === NO_NAME_SERVER)) return [];
  if (typeof hostname === 'string' && hostname !== '') return [`dns ${hostname}`];
  if (typeof address !== 'string') return [];
  return [`tcp ${address}${typeof port === 'number' && port > 0 ? `:${port}` : ''}`];
}
