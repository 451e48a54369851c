/** Checks at a deploy that the module has the handlers that its settings need. Otherwise each run would fail, or do nothing. */
import { OffshootError } from '#contract/api/errors.ts';
import type { FunctionSettings, VersionSettings } from '#contract/functions/settings.ts';
import type { HandlerName } from '#contract/wire/channel.ts';

/** Throws `bad_manifest`. `handlers`: as the sandbox has reported them after the load; undefined where it has not. */
export function checkHandlers(
  handlers: readonly HandlerName[] | undefined,
  { schedule }: FunctionSettings,
  { batch }: VersionSettings,
): void {
  if (!handlers) return;
  const has = (...names: HandlerName[]): boolean => names.some((name) => handlers.includes(name));
  const found = handlers.map((name) => `${name}()`).join(' and ');
  if (schedule && !has('scheduled', 'handler')) {
    throw new OffshootError(
      'bad_manifest',
      `offshoot.json has a schedule, but the module has only ${found}; add scheduled(event, env, ctx) to its default object, or remove "schedule"`,
    );
  }
  if (batch && !has('queue', 'fetch', 'handler')) {
    throw new OffshootError(
      'bad_manifest',
      `offshoot.json has "batch", but the module has only ${found}; add queue(batch, env, ctx) to its default object, or remove "batch"`,
    );
  }
}
