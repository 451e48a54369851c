/**
 * Builds the app with every route of the gateway except /fn/{namespace}/{name}/{path}, which needs the raw request and is in
 * function-route.ts. createApp() builds; server.ts serves.
 */
import { Readable } from 'node:stream';
import { createRoute, OpenAPIHono, type RouteConfig } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { getPath } from 'hono/utils/url';
import type { ZodError } from 'zod';
import type { Scope } from '#contract/api/api.ts';
import { ERRORS, OffshootError } from '#contract/api/errors.ts';
import { manifestProblems } from '#contract/functions/manifest.ts';
import { terminalJson } from '#contract/api/text.ts';
import { redisError } from '#storage/redis/redis.ts';
import { RequestAborted } from '../call/body.ts';
import { apiPath } from '../dashboard/access.ts';
import { addDashboard } from '../dashboard/routes.ts';
import { LoadNotDone } from '../functions/deploy.ts';
import { describeApi, docsPage, DOCS_HEADERS } from './openapi.ts';
import { failureAnswer } from '../call/failure.ts';
import { jsonBody } from '../call/json-parts.ts';
import * as artifacts from './artifacts.ts';
import * as batches from './batches.ts';
import * as callbacks from './callbacks.ts';
import { authorize, ERROR_ANSWER, limitJson, type AppDeps, type AppEnv, type Endpoint } from './endpoint.ts';
import * as deadLetters from './dead-letters.ts';
import * as functions from './functions.ts';
import * as invocations from './invocations.ts';
import * as queued from './queued.ts';
import * as schedules from './schedules.ts';
import * as system from './system.ts';

type Method = 'get' | 'head' | 'put' | 'post' | 'delete';

/** Scope that the key needs; `any` is any valid key, `none` no key at all. */
type Demand = Scope | 'any' | 'none';

const API = '/api/v1';

// prettier-ignore -- one line each, so that the whole API is on one screen
const ROUTES: readonly (readonly [Method, string, Demand, Endpoint])[] = [
  ['get', '/healthz', 'none', system.health],
  ['get', '/metrics', 'read', system.metrics],

  ['get', `${API}/whoami`, 'any', system.whoAmI],
  ['get', `${API}/keys`, 'admin', system.listKeys],
  ['post', `${API}/keys`, 'admin', system.createKey],
  ['delete', `${API}/keys/{id}`, 'admin', system.removeKey],
  ['get', `${API}/workers`, 'read', system.workers],

  ['get', `${API}/namespaces/{namespace}/limits`, 'read', system.namespaceLimits],
  ['put', `${API}/namespaces/{namespace}/limits`, 'admin', system.setNamespaceLimits],

  ['head', `${API}/artifacts/{digest}`, 'deploy', artifacts.has],
  ['put', `${API}/artifacts/{digest}`, 'deploy', artifacts.put],

  ['get', `${API}/functions`, 'read', functions.listAll],
  ['get', `${API}/functions/{namespace}`, 'read', functions.list],
  ['get', `${API}/functions/{namespace}/{name}`, 'read', functions.describe],
  ['delete', `${API}/functions/{namespace}/{name}`, 'deploy', functions.remove],
  ['post', `${API}/functions/{namespace}/{name}/versions`, 'deploy', functions.deploy],
  ['post', `${API}/functions/{namespace}/{name}/activate`, 'deploy', functions.activate],
  ['post', `${API}/functions/{namespace}/{name}/invoke`, 'invoke', invocations.invoke],
  ['post', `${API}/functions/{namespace}/{name}/invocations`, 'invoke', queued.enqueue],
  ['get', `${API}/functions/{namespace}/{name}/logs`, 'read', invocations.logs],

  ['get', `${API}/invocations`, 'read', invocations.list],
  ['get', `${API}/invocations/{id}`, 'read', invocations.get],
  ['get', `${API}/invocations/{id}/result`, 'read', queued.result],
  ['get', `${API}/invocations/{id}/events`, 'read', queued.events],
  ['post', `${API}/invocations/{id}/cancel`, 'invoke', queued.cancel],
  ['post', `${API}/invocations/{id}/replay`, 'invoke', queued.replay],

  ['get', `${API}/traces/{traceId}`, 'read', invocations.trace],

  ['post', `${API}/functions/{namespace}/{name}/batches`, 'invoke', batches.create],
  ['get', `${API}/batches`, 'read', batches.list],
  ['get', `${API}/batches/{id}`, 'read', batches.get],
  ['get', `${API}/batches/{id}/results`, 'read', batches.results],
  ['post', `${API}/batches/{id}/items`, 'invoke', batches.append],
  ['post', `${API}/batches/{id}/seal`, 'invoke', batches.seal],
  ['post', `${API}/batches/{id}/cancel`, 'invoke', batches.cancel],

  ['get', `${API}/schedules/{namespace}`, 'read', schedules.list],

  ['get', `${API}/callbacks/{namespace}/secret`, 'deploy', callbacks.secret],
  ['post', `${API}/callbacks/{namespace}/secret/rotate`, 'deploy', callbacks.rotate],

  ['get', `${API}/dead-letters/{namespace}`, 'read', deadLetters.list],
  ['post', `${API}/dead-letters/{namespace}/redrive`, 'invoke', deadLetters.redrive],
  ['post', `${API}/dead-letters/{namespace}/purge`, 'invoke', deadLetters.purge],
];

/** Works like hono's context.json(), but makes the text safe for terminals, and writes a long text while it is sent. */
function jsonAnswer(context: Context<AppEnv>): Context<AppEnv>['json'] {
  const answer = (
    object: unknown,
    status?: ContentfulStatusCode,
    headers?: Record<string, string>,
  ): Response => {
    const body = jsonBody(object, terminalJson);
    return context.body(
      typeof body === 'string' ? body : (Readable.toWeb(body) as ReadableStream<Uint8Array<ArrayBuffer>>),
      status,
      { 'content-type': 'application/json', ...headers },
    );
  };
  return answer as Context<AppEnv>['json'];
}

/** The app with all its routes; it does not listen. */
export function createApp(deps: AppDeps): OpenAPIHono<AppEnv> {
  const app = new OpenAPIHono<AppEnv>({
    getPath: (request) => apiPath(getPath(request)),
    defaultHook: (result) => {
      if (!result.success) throw invalid(result.target, result.error);
    },
  });
  // Many answers hold text of functions, and people read them in terminals.
  app.use(async (context, next) => {
    context.json = jsonAnswer(context);
    await next();
  });
  for (const [method, path, demand, { definition, handler, readsBody }] of ROUTES) {
    const allowed = demand === 'none' ? [] : [authorize(deps, demand)];
    const middleware = readsBody ? allowed : [...allowed, limitJson];
    const security = demand === 'none' ? [] : [{ apiKey: [] }];
    const responses = { ...definition.responses, default: ERROR_ANSWER };
    const route: RouteConfig = { ...definition, method, path, middleware, security, responses };
    if (method === 'head') {
      // hono answers HEAD by its GET routes and ignores routes for HEAD; the document shows the intended method.
      app.openAPIRegistry.registerPath(route);
      app.openapi(createRoute({ ...route, method: 'get', hide: true }), handler(deps));
    } else app.openapi(createRoute(route), handler(deps));
  }

  const description = describeApi(app, deps.version);
  // Made once: these routes need no key, so each request must cost next to nothing.
  let document: string | undefined;
  let page: ReturnType<typeof docsPage> | undefined;
  app.get(`${API}/openapi.json`, (context) => {
    document ??= JSON.stringify(description());
    return context.body(document, 200, { 'content-type': 'application/json' });
  });
  app.get(`${API}/docs`, (context) => context.html((page ??= docsPage(description())), 200, DOCS_HEADERS));

  addDashboard(app, deps);

  app.notFound((context) => {
    const { status } = ERRORS.not_found;
    const missing = new OffshootError('not_found', `there is no ${context.req.method} ${context.req.path}`);
    return context.json(missing.toBody(), status);
  });
  app.onError((error, context) => {
    if (error instanceof LoadNotDone) {
      const { status, headers, body } = failureAnswer(error.id, error.failure, true);
      return context.json(body, status as ContentfulStatusCode, headers);
    }
    const refusal = refusalOf(error);
    if (refusal.code === 'internal')
      deps.log.error({ err: error, path: context.req.path }, 'a request failed');
    const { status } = refusal;
    if (status === 401) context.header('www-authenticate', 'Bearer realm="offshoot"');
    if (refusal.retryAfterS !== undefined) context.header('retry-after', String(refusal.retryAfterS));
    return context.json(refusal.toBody(), status as ContentfulStatusCode);
  });
  return app;
}

/** The error for a request whose parameters or body do not fit their schema. */
function invalid(target: string, error: ZodError): OffshootError {
  const problems = manifestProblems(error);
  const path = error.issues[0]?.path[0];
  const [first = ''] = problems;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
  const isName = target === 'param' && (path === 'namespace' || path === 'name');
  const code = isName
    ? 'bad_name'
    : target === 'json' && path === 'manifest'
      ? 'bad_manifest'
      : 'bad_request';
  return new OffshootError(code, `${first}${more}`, { details: { problems } });
}

function refusalOf(error: unknown): OffshootError {
  if (error instanceof OffshootError) return error;
  // The client has disconnected and will not read this answer.
  if (error instanceof RequestAborted) return new OffshootError('bad_request', 'the request was cut off');
  if (error instanceof HTTPException) {
    const message =
      error.status === 415 ? 'the body must be sent with "content-type: application/json"' : error.message;
    return new OffshootError('bad_request', message, { cause: error });
  }
  return redisError(error);
}
