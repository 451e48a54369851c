/**
 * Recognises a module whose handlers have no form of their own: an app of a framework for Node, a plain function, or `GET` and
 * `POST` exports as in routes of web frameworks. Any other module is refused with the lines that would make it run.
 */
import http from 'node:http';
import https from 'node:https';
import type { Server } from 'node:net';
import {
  appOfFramework,
  appOfFunction,
  appOfServer,
  type App,
  type NodeListener,
} from '../handlers/app/node-app.ts';
import { named } from '../handlers/body.ts';
import type { FunctionContext } from '../handlers/invocation.ts';
import type { LambdaHandler } from '../handlers/lambda/lambda.ts';

export type FetchHandler = (request: Request, env: object, context: FunctionContext) => unknown;

export type Shape =
  | { readonly kind: 'fetch'; readonly fetch: FetchHandler }
  | { readonly kind: 'app'; readonly app: App }
  | { readonly kind: 'lambda'; readonly handler: LambdaHandler };

type AnyFunction = (...given: unknown[]) => unknown;
type Members = Readonly<Record<string, unknown>>;

export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'] as const;

/** Returns the shape of a default export that has no handlers as members; undefined if it has none that is known. */
export async function shapeOf(exported: unknown): Promise<Shape | undefined> {
  if (!isMembers(exported) || isEventHandler(exported)) return undefined;
  const app = await appOf(exported);
  if (app) return { kind: 'app', app };
  return typeof exported === 'function' ? shapeOfFunction(exported) : undefined;
}

/** Recognises an app by the members that its framework documents. */
async function appOf(given: Members): Promise<App | undefined> {
  if (isServer(given)) return appOfServer(given);
  // nest
  if (isFunction(given['getHttpServer']) && isFunction(given['init'])) {
    await (given['init'] as AnyFunction).call(given);
    return serverApp((given['getHttpServer'] as AnyFunction).call(given));
  }
  // fastify
  if (isFunction(given['ready']) && isFunction(given['inject']) && isServer(given['server'])) {
    await (given['ready'] as AnyFunction).call(given);
    return appOfServer(given['server']);
  }
  // hapi
  if (isFunction(given['initialize']) && isServer(given['listener'])) {
    await (given['initialize'] as AnyFunction).call(given);
    return appOfServer(given['listener']);
  }
  // koa
  if (isFunction(given['callback']) && Array.isArray(given['middleware'])) {
    return appOfFramework((given['callback'] as AnyFunction).call(given) as NodeListener);
  }
  // express and connect
  if (typeof given === 'function' && isFunction(given['use']) && isFunction(given['handle'])) {
    return appOfFramework(given);
  }
  // polka, restify
  if (isFunction(given['listen']) && isFunction(given['use'])) {
    if (isFunction(given['handler'])) return appOfFramework(given['handler'] as NodeListener);
    if (isServer(given['server'])) return appOfServer(given['server']);
  }
  return undefined;
}

function serverApp(server: unknown): App | undefined {
  return isServer(server) ? appOfServer(server) : undefined;
}

function isServer(value: unknown): value is Server {
  return value instanceof http.Server || value instanceof https.Server;
}

/** Names of a second parameter that is the response of Node. */
const RESPONSE_NAME = /^_*(?:res|resp|response|rsp|reply)\d*$/i;
const EVENT_NAME = /^_*(?:event|evt)\d*$/i;
/** Members by which code writes a response of Node. */
const RESPONSE_USE =
  '(?:status|statusCode|json|send|sendStatus|end|write|writeHead|setHeader|redirect|pipe|headersSent)\\b';

/**
 * Tells the forms of a plain function apart: `(request)`, `(request, env, ctx)`, `(req, res)` and `(event, context)`. The number
 * of parameters says the most; between forms of the same number, the source says which names they have or what is done with them.
 */
function shapeOfFunction(given: AnyFunction): Shape | undefined {
  if (isClass(given)) return undefined;
  const source = Function.prototype.toString.call(given);
  const [first = '', second = ''] = parametersOf(source);
  if (EVENT_NAME.test(first)) return { kind: 'lambda', handler: given };
  const usesSecond =
    /^[\w$]+$/.test(second) &&
    new RegExp(`(?<![\\w$.])${second.replaceAll('$', '\\$')}\\s*\\??\\.\\s*${RESPONSE_USE}`).test(source);
  // A bound or native function shows no source; those of two parameters are listeners, such as that of a router.
  const isNative = source.endsWith('{ [native code] }') && given.length >= 2;
  if (given.length >= 2 || second !== '') {
    if (RESPONSE_NAME.test(second) || usesSecond || isNative) {
      return { kind: 'app', app: appOfFunction(given) };
    }
  }
  return { kind: 'fetch', fetch: given };
}

/** Returns the names of the first parameters; an empty text for one that is taken apart or is missing. */
function parametersOf(source: string): string[] {
  const lone = /^(?:async\s+)?([\w$]+)\s*=>/.exec(source);
  if (lone) return [lone[1] ?? ''];
  const list = /^[^(]*\(([^)]*)/.exec(source)?.[1] ?? '';
  return list
    .split(',')
    .map((parameter) => /^\s*(?:\/\*.*?\*\/\s*)?([\w$]+)\s*(?:=.*)?$/s.exec(parameter)?.[1] ?? '');
}

/** Makes a fetch handler of `GET`, `POST` and the like; undefined if there is none. */
export function methodsOf(exports: Members): FetchHandler | undefined {
  const has = METHODS.filter((method) => isFunction(exports[method]));
  if (has.length === 0) return undefined;
  const allowed = new Set<string>(has);
  if (allowed.has('GET')) allowed.add('HEAD');
  allowed.add('OPTIONS');
  const allow = [...allowed].join(', ');
  return (request, env, context) => {
    const { method } = request;
    const own = METHODS.find((name) => name === method && isFunction(exports[name]));
    const name = own ?? (method === 'HEAD' && isFunction(exports['GET']) ? 'GET' : undefined);
    if (name !== undefined) {
      return (exports[name] as AnyFunction)(request, { ...context, env, params: Promise.resolve({}) });
    }
    const status = method === 'OPTIONS' ? 204 : 405;
    return new Response(null, { status, headers: { allow } });
  };
}

/** Says what the module exports, and how it could be a function. */
export function refusal(module: Members, exported: unknown): string {
  const names = Object.keys(module).filter((name) => name !== '__esModule' && name !== 'module.exports');
  const list = names.join(', ') || 'nothing';
  return `the module exports no handler; it exports ${list}. ${advice(module, exported, names)}`;
}

const FORMS =
  'A function is one of: export default { fetch(request, env, ctx) { … } }, also with queue(batch, env, ctx) or scheduled(event, env, ctx); export const handler = async (event, context) => …; export function GET(request) { … }; an express, koa, fastify or http app as the default export; or a server that calls listen() while the module is loaded';

function advice(module: Members, exported: unknown, names: readonly string[]): string {
  const wrong = isMembers(exported)
    ? ['fetch', 'scheduled', 'queue'].find(
        (name) => exported[name] !== undefined && !isFunction(exported[name]),
      )
    : undefined;
  if (wrong !== undefined && isMembers(exported)) {
    return `The default export has ${wrong}, which is ${named(exported[wrong])} and must be a function`;
  }
  if (typeof exported === 'function' && isClass(exported as AnyFunction)) {
    return `The default export is a class. Write: const app = new ${exported.name || 'App'}(); export default { fetch: (request, env, ctx) => app.fetch(request, env, ctx) }`;
  }
  if (isEventHandler(exported)) {
    return "The default export is an event handler of h3 1. Write: import { createApp, toWebHandler } from 'h3'; const app = createApp().use(handler); export default { fetch: toWebHandler(app) }";
  }
  if (isMembers(exported) && isFunction(exported['handler']) && Array.isArray(exported['stack'])) {
    return "The default export is an app of h3 1. Write: import { toWebHandler } from 'h3'; export default { fetch: toWebHandler(app) }";
  }
  const event = names.find(
    (name) => isFunction(module[name]) && EVENT_NAME.test(parametersOf(String(module[name]))[0] ?? ''),
  );
  if (event !== undefined)
    return `${event}() looks like a Lambda-style handler. Write: export { ${event} as handler }`;
  const app = names.find((name) => name !== 'default' && looksLikeApp(module[name]));
  if (app !== undefined) return `${app} looks like an app. Write: export default ${app}`;
  return `${exported === undefined ? '' : `The default export is ${named(exported)}. `}${FORMS}`;
}

function looksLikeApp(value: unknown): boolean {
  if (!isMembers(value)) return false;
  return (
    isFunction(value['fetch']) || isServer(value) || (isFunction(value['listen']) && isFunction(value['use']))
  );
}

function isClass(given: AnyFunction): boolean {
  return /^class\b/.test(Function.prototype.toString.call(given));
}

/** The mark of a handler of h3 1. It takes an event of its own making, which is none of Lambda's. */
export function isEventHandler(value: unknown): boolean {
  return isMembers(value) && value['__is_handler__'] === true;
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}

export function isMembers(value: unknown): value is Members {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
