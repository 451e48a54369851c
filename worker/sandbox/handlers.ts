/** Reads which handlers a module has. Its sandbox says so, and is not trusted: names that do not exist are left out. */
import { HANDLER_NAMES, type HandlerName, type ReadyReport } from '#contract/wire/channel.ts';

/** Returns the handlers that the payload of READY names; undefined if it names none that can be read. */
export function readHandlers(payload: Buffer): readonly HandlerName[] | undefined {
  try {
    const { handlers } = JSON.parse(payload.toString('utf8')) as Partial<ReadyReport>;
    if (!Array.isArray(handlers)) return undefined;
    const told = new Set<unknown>(handlers);
    return HANDLER_NAMES.filter((name) => told.has(name));
  } catch {
    return undefined;
  }
}
