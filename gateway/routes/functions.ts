/** Routes for functions and their versions: list, describe, deploy, activate, remove. */
import { z } from '@hono/zod-openapi';
import { DeployRequest, DeployResult, FunctionDetail, FunctionView } from '#contract/api/api.ts';
import type { ApiKeyRecord, VersionView } from '#contract/api/api.ts';
import type { VersionRecord } from '#contract/functions/records.ts';
import { shownSettings } from '#contract/functions/settings.ts';
import { FUNCTION_PREFIX } from '#contract/functions/function-path.ts';
import { EVERY_NAMESPACE } from '#contract/functions/names.ts';
import type { StoredFunction } from '#storage/functions/function-repository.ts';
import { answers, endpoint, jsonBody, OfFunction, OfNamespace, type AppDeps } from './endpoint.ts';

const RECENT_SHOWN = 20;

const FunctionList = z.object({ functions: z.array(FunctionView) });

export const listAll = endpoint(
  {
    summary: 'Functions of all namespaces that the key may read',
    responses: answers(200, FunctionList, 'the functions'),
  },
  (deps) => async (context) => {
    const { namespace } = context.var.holder;
    const namespaces = namespace === EVERY_NAMESPACE ? await deps.functions.namespaces() : [namespace];
    const found = await Promise.all(namespaces.map((one) => deps.functions.list(one)));
    return context.json({ functions: found.flat().map(viewOf) }, 200);
  },
);

export const list = endpoint(
  {
    summary: 'Functions of a namespace',
    request: { params: OfNamespace },
    responses: answers(200, FunctionList, 'the functions'),
  },
  (deps) => async (context) => {
    const { namespace } = context.req.valid('param');
    const found = await deps.functions.list(namespace);
    if (found.length === 0 && !(await deps.functions.hasNamespace(namespace))) {
      throw await deps.functionCache.namespaceNotFound(namespace, context.var.holder);
    }
    return context.json({ functions: found.map(viewOf) }, 200);
  },
);

export const describe = endpoint(
  {
    summary: 'A function, its versions and its latest invocations',
    request: { params: OfFunction },
    responses: answers(200, FunctionDetail, 'the function'),
  },
  (deps) => async (context) => {
    const { namespace, name } = context.req.valid('param');
    const found = await existing(deps, namespace, name, context.var.holder);
    const [versions, recent] = await Promise.all([
      deps.functions.versions(namespace, name),
      deps.invocations.recent(namespace, name, RECENT_SHOWN),
    ]);
    const shown = recent.flatMap((record) => {
      if (record.state !== 'done') return [];
      const { id, outcome, status, startedAt, duration } = record;
      return { id, outcome, status, startedAt, duration };
    });
    return context.json({ ...viewOf(found), versions: versions.map(versionView), recent: shown }, 200);
  },
);

export const deploy = endpoint(
  {
    summary: 'Deploy a version',
    description:
      'Answers when a worker has loaded the new version and calls go to it, or with the error. Until then, and after a failure, the previous version keeps serving, and the settings of the function stay as they are.',
    request: { params: OfFunction, body: jsonBody(DeployRequest) },
    responses: answers(201, DeployResult, 'the new version is active'),
  },
  (deps) => async (context) => {
    const { namespace, name } = context.req.valid('param');
    const { found, load } = await deps.deployer.deploy(
      namespace,
      name,
      context.req.valid('json'),
      context.var.holder,
    );
    return context.json({ function: viewOf(found), load }, 201);
  },
);

export const activate = endpoint(
  {
    summary: 'Make an earlier or later version the active one; the settings of the function stay',
    request: { params: OfFunction, body: jsonBody(z.object({ version: z.int().min(1) })) },
    responses: answers(200, FunctionView, 'the function as it is now'),
  },
  (deps) => async (context) => {
    const { namespace, name } = context.req.valid('param');
    const { version } = context.req.valid('json');
    await existing(deps, namespace, name, context.var.holder);
    await deps.deployer.activate(namespace, name, version);
    return context.json(viewOf(await existing(deps, namespace, name, context.var.holder)), 200);
  },
);

export const remove = endpoint(
  {
    summary: 'Delete a function with all its versions',
    request: { params: OfFunction },
    responses: { 204: { description: 'it is gone' } },
  },
  (deps) => async (context) => {
    const { namespace, name } = context.req.valid('param');
    if (!(await deps.deployer.remove(namespace, name))) {
      throw await deps.functionCache.notFound(namespace, name, context.var.holder);
    }
    return context.body(null, 204);
  },
);

/** Throws `function_not_found` or `namespace_not_found`, with the nearest name. */
export async function existing(
  deps: AppDeps,
  namespace: string,
  name: string,
  holder: ApiKeyRecord,
): Promise<StoredFunction> {
  const found = await deps.functions.find(namespace, name);
  if (!found) throw await deps.functionCache.notFound(namespace, name, holder);
  return found;
}

/** The view of a function for every key that may read it. */
export function viewOf({ record, active }: StoredFunction): FunctionView {
  const url = `${FUNCTION_PREFIX}${record.namespace}/${record.name}`;
  return { ...record, url, active: versionView(active) };
}

function versionView(version: VersionRecord): VersionView {
  return { ...version, settings: shownSettings(version.settings) };
}
