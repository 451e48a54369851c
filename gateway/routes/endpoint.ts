/** What the routes of the management API have in common. */
import type { HttpBindings } from '@hono/node-server';
import { z, type RouteConfig, type RouteHandler } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { Digest, type ApiKeyRecord, type Health, type Scope } from '#contract/api/api.ts';
import { ErrorBody, OffshootError } from '#contract/api/errors.ts';
import { MAX_ENV_BYTES } from '#contract/functions/manifest.ts';
import { Name } from '#contract/functions/names.ts';
import type { ArtifactStore } from '#storage/artifacts/artifacts.ts';
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
import type { QueuedLane } from '../queued/control.ts';
import type { Schedules } from '../functions/schedules.ts';
import { EVERY_NAMESPACE, type ApiKeyStore } from '../functions/api-keys.ts';
import type { FunctionStore } from '../functions/function-repository.ts';
import type { InvocationStore } from '../records/invocations.ts';
import type { UnnamedArchives } from '../functions/unnamed-archives.ts';
import type { Listing } from '../records/listing.ts';

export interface AppDeps {
  readonly functions: FunctionStore;
  readonly apiKeys: ApiKeyStore;
  readonly invocations: InvocationStore;
  readonly listing: Listing;
  readonly artifacts: ArtifactStore;
  readonly unnamedArchives: UnnamedArchives;
  readonly directory: FunctionCache;
  readonly deployer: Deployer;
  readonly functionRoute: FunctionRoute;
  readonly queued: QueuedLane;
  readonly batches: Batches;
  readonly secrets: SecretStore;
  readonly schedules: Schedules;
  readonly namespaceLimits: NamespaceLimitsStore;
  readonly metrics: Pick<Metrics, 'expose'>;
  readonly health: () => Promise<z.infer<typeof Health>>;
  readonly dashboard: DashboardDeps;
  /** Of the platform, as `whoami` tells it. */
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
  /** It reads the body itself and has its own limit; others take a little JSON. */
  readonly readsBody: boolean;
}

/** Ties a handler to its definition: what it reads and answers is checked against the schemas by the compiler. */
export function endpoint<const D extends Definition>(
  definition: D,
  handler: (deps: AppDeps) => RouteHandler<D & { method: 'get'; path: string }, AppEnv>,
  { readsBody = false } = {},
): Endpoint {
  // The table holds routes of many types; each has been checked here, against its own.
  return { definition, handler: handler as unknown as Endpoint['handler'], readsBody };
}

/** Answers of a route in its definition: the schema of a success, and errors as everywhere. */
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
 * Lets a request through when its key, or that of its session, carries the scope in the namespace of the path, or anywhere when the path has none.
 * `any` asks for a valid key only.
 */
export function authorize(deps: AppDeps, scope: Scope | 'any'): MiddlewareHandler<AppEnv> {
  return async function authorized(context, next) {
    const presented = presentedKey({
      authorization: context.req.header('authorization'),
      'x-api-key': context.req.header('x-api-key'),
    });
    const holder =
      (await dashboardHolder(context, deps.dashboard.sessions)) ??
      (presented && (await deps.directory.key(presented.key)));
    const own = holder?.namespace ?? EVERY_NAMESPACE;
    // A key with no scope at all cannot be made, so its first one is one that it has.
    const wanted = scope === 'any' ? (holder?.scopes[0] ?? 'read') : scope;
    const namespace = context.req.param('namespace') ?? own;
    demand(holder, presented, wanted, namespace);
    // Keys and namespaces are everybody's: a key of one namespace must not manage those of another.
    if (scope === 'admin' && holder.namespace !== EVERY_NAMESPACE) {
      throw new OffshootError('forbidden', 'this needs an admin key that holds for all namespaces');
    }
    context.set('holder', holder);
    await next();
  };
}

/**
 * Largest JSON body of the management API: a manifest with all the environment that it may have, and room to spare. Reading
 * JSON holds everybody else up, a megabyte of short keys for a tenth of a second.
 */
const MAX_JSON_BYTES = MAX_ENV_BYTES + 128 * 1024;

/** Values in a JSON body; a manifest has a few dozen, and a variable of the environment is one. */
const MAX_JSON_VALUES = 5_000;

/**
 * Refuses a JSON body that is too large before it is held in memory, and one with very many values before it is held
 * against a schema: to say of each of thirty thousand what is wrong with it takes a third of a second.
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
