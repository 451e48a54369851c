/** The form of a route of the management API, and the parts that routes share: dependencies, authorisation, JSON limits. */
import type { HttpBindings } from '@hono/node-server';
import { z, type RouteConfig, type RouteHandler } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { ApiKeyRecord, Health, Scope } from '#contract/api/api.ts';
import { Digest } from '#contract/functions/records.ts';
import { ErrorBody, OffshootError } from '#contract/api/errors.ts';
import { MAX_ENV_BYTES } from '#contract/functions/manifest.ts';
import { EVERY_NAMESPACE, Name } from '#contract/functions/names.ts';
import type { ArtifactStore } from '#storage/artifacts/artifacts.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { Log } from '#storage/log.ts';
import type { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import { demand, presentedKey } from '../functions/access.ts';
import { dashboardHolder, type DashboardDeps } from '../dashboard/access.ts';
import type { Batches } from '../batches/batches.ts';
import type { Deployer } from '../functions/deploy.ts';
import type { FunctionCache } from '../functions/function-cache.ts';
import type { FunctionRoute } from '../call/function-route.ts';
import type { SecretStore } from '../callbacks/secrets.ts';
import type { QueueControl } from '../queued/control.ts';
import type { Schedules } from '../functions/schedules.ts';
import type { ApiKeyStore } from '../functions/api-keys.ts';
import type { InvocationStore } from '../records/invocations.ts';
import type { UnnamedArchives } from '../functions/unnamed-archives.ts';
import type { Listing } from '../records/listing.ts';

export interface AppDeps {
  readonly functions: FunctionRepository;
  readonly apiKeys: ApiKeyStore;
  readonly invocations: InvocationStore;
  readonly listing: Listing;
  readonly artifacts: ArtifactStore;
  readonly unnamedArchives: UnnamedArchives;
  readonly functionCache: FunctionCache;
  readonly deployer: Deployer;
  readonly functionRoute: FunctionRoute;
  readonly queued: QueueControl;
  readonly batches: Batches;
  readonly secrets: SecretStore;
  readonly schedules: Schedules;
  readonly namespaceLimits: NamespaceLimitsStore;
  readonly metrics: Pick<Metrics, 'expose'>;
  readonly health: () => Promise<z.infer<typeof Health>>;
  readonly dashboard: DashboardDeps;
  /** Version of the platform, for `whoami`. */
  readonly version: string;
  readonly log: Log;
}

export interface AppEnv {
  Bindings: HttpBindings;
  Variables: {
    /** The key that the request came with; set for each route that asks for a scope. */
    holder: ApiKeyRecord;
  };
}

/** A route without its method, path and scope, which the table in app.ts gives it. */
export type Definition = Omit<RouteConfig, 'method' | 'path'>;

export interface Endpoint {
  readonly definition: Definition;
  readonly handler: (deps: AppDeps) => RouteHandler<RouteConfig, AppEnv>;
  /** The route reads the body itself and has its own limit; others take a little JSON. */
  readonly readsBody: boolean;
}

/** Ties a handler to its definition, so that the compiler checks its input and its answers against the schemas. */
export function endpoint<const D extends Definition>(
  definition: D,
  handler: (deps: AppDeps) => RouteHandler<D & { method: 'get'; path: string }, AppEnv>,
  { readsBody = false } = {},
): Endpoint {
  // The table holds routes of many types; each route has been checked here, against its own type.
  return { definition, handler: handler as unknown as Endpoint['handler'], readsBody };
}

/** Answers of a route in its definition: the schema of a success. Errors are the same for all routes. */
export function answers<const S extends number, T extends z.ZodType>(
  status: S,
  schema: T,
  description: string,
) {
  return {
    [status]: { description, content: { 'application/json': { schema } } },
  } as { [K in S]: { description: string; content: { 'application/json': { schema: T } } } };
}

export const ERROR_ANSWER = {
  description: 'what is wrong, and what to do next',
  content: { 'application/json': { schema: ErrorBody } },
};

export const OfNamespace = z.object({ namespace: Name });
export const OfFunction = z.object({ namespace: Name, name: Name });
export const OfInvocation = z.object({
  id: z.string().regex(/^[0-9A-Za-z-]{1,64}$/, 'not the id of an invocation'),
});
export const OfArtifact = z.object({ digest: Digest });

/** A JSON body in a definition. */
export function jsonBody<T extends z.ZodType>(schema: T) {
  return { required: true, content: { 'application/json': { schema } } } as const;
}

/**
 * Lets a request pass when its key, or that of its session, has the scope in the namespace of the path. A path without a
 * namespace needs the scope in any. `any` asks only for a valid key.
 */
export function authorize(deps: AppDeps, scope: Scope | 'any'): MiddlewareHandler<AppEnv> {
  return async function authorized(context, next) {
    const presented = presentedKey({
      authorization: context.req.header('authorization'),
      'x-api-key': context.req.header('x-api-key'),
    });
    const holder =
      (await dashboardHolder(context, deps.dashboard.sessions)) ??
      (presented && (await deps.functionCache.key(presented.key)));
    const own = holder?.namespace ?? EVERY_NAMESPACE;
    // Every key has a scope, so a valid key always has its own first one.
    const wanted = scope === 'any' ? (holder?.scopes[0] ?? 'read') : scope;
    const namespace = context.req.param('namespace') ?? own;
    demand(holder, presented, wanted, namespace);
    // Admin routes concern all namespaces: a key of one namespace must not manage those of another.
    if (scope === 'admin' && holder.namespace !== EVERY_NAMESPACE) {
      throw new OffshootError('forbidden', 'this needs an admin key that holds for all namespaces');
    }
    context.set('holder', holder);
    await next();
  };
}

/**
 * Upper bound on a JSON body of the management API: a manifest with the largest environment, and room to spare. Parsing JSON
 * delays all other requests, a megabyte of short keys by a tenth of a second.
 */
const MAX_JSON_BYTES = MAX_ENV_BYTES + 128 * 1024;

/** Upper bound on the values in a JSON body. A manifest has a few dozen, and each environment variable is one. */
const MAX_JSON_VALUES = 5_000;

/**
 * Refuses a JSON body that is too large before it is in memory, and one with very many values before its validation. A list of
 * thirty thousand validation errors takes a third of a second.
 */
export const limitJson: MiddlewareHandler<AppEnv> = (context, next) =>
  limitBytes(context, async () => {
    if (context.req.header('content-type')?.includes('json')) {
      // Read once: the validation gets the same value, or the same error.
      const body: unknown = await context.req.json().catch(() => undefined);
      if (hasMoreValues(body, MAX_JSON_VALUES)) {
        throw new OffshootError('bad_request', `the body has more than ${MAX_JSON_VALUES} values`);
      }
    }
    await next();
  });

function hasMoreValues(value: unknown, limit: number): boolean {
  const open = [value];
  let seen = 0;
  while (open.length > 0) {
    const one = open.pop();
    if (typeof one !== 'object' || one === null) continue;
    const inside: unknown[] = Object.values(one);
    seen += inside.length;
    if (seen > limit) return true;
    open.push(...inside);
  }
  return false;
}

const limitBytes = bodyLimit({
  maxSize: MAX_JSON_BYTES,
  onError: () => {
    throw new OffshootError('bad_request', `the body has more than ${MAX_JSON_BYTES} bytes`, {
      details: { limit: MAX_JSON_BYTES },
    });
  },
});
