/** One deployment, as `deploy` and `dev` do it: bundle, pack, upload what is not there yet, wait for the new version. */
import { LoadFailure, type DeployResult } from '#contract/api/api.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { archiveOf, type Archive } from '../bundle/archive.ts';
import type { Build, Builder, Project } from '../bundle/terms/build.ts';
import { builderOf } from '../bundle/builder.ts';
import { functionUrl, type Client } from '../api/client.ts';
import { CliError } from '../terminal/errors.ts';
import type { Progress } from '../terminal/progress.ts';
import { ownFrame, showFrame } from './stack.ts';
import { defuse, defuseLines, shellWord } from '../terminal/text.ts';

export interface Deployment {
  readonly result: DeployResult;
  readonly archive: Archive;
  readonly build: Build;
  /** False when the same bytes had been uploaded before. */
  readonly uploaded: boolean;
}

/** Deploys once; returns when the new version has been loaded, and throws when it could not be. */
export async function deployOnce(
  client: Client,
  project: Project,
  builder: Builder,
  progress: Progress,
): Promise<Deployment> {
  const { manifest } = project;
  const { namespace } = client.target;
  progress.step(`bundling ${manifest.name}`);
  const build = await builder.run();
  const archive = await archiveOf(build);
  const uploaded = await upload(client, archive, progress);
  progress.step(`loading ${namespace}/${manifest.name}`);
  try {
    const body = { digest: archive.digest, entryFile: build.entryFile, manifest };
    const result = await client.deploy(namespace, manifest.name, body);
    return { result, archive, build, uploaded };
  } catch (error) {
    throw error instanceof CliError && error.code === 'load_failed'
      ? loadError(error, project, build)
      : error;
  }
}

async function upload(client: Client, archive: Archive, progress: Progress): Promise<boolean> {
  if (await client.hasArtifact(archive.digest)) return false;
  await client.putArtifact(archive.digest, archive.data, (sent, total) =>
    progress.bar('uploading', sent, total),
  );
  return true;
}

/** The server's load_failed, with the line of the developer's own source and what the function printed. */
function loadError(error: CliError, project: Project, build: Build): CliError {
  const failure = LoadFailure.safeParse(error.details);
  if (!failure.success) return error;
  const { outcome, error: thrown, logs } = failure.data;
  const lines: string[] = [];
  let place: string | undefined;
  if (thrown) {
    lines.push(...defuseLines(`${thrown.name}: ${thrown.message}`));
    const frame = ownFrame(builderOf(project).framesOf(thrown.stack ?? '', build.sources));
    if (frame) {
      const [where, ...shown] = showFrame(frame, project.directory);
      place = where;
      lines.push('', `at ${where}`, ...shown);
    } else if (thrown.stack) {
      lines.push(...defuseLines(thrown.stack).slice(1, 6));
    }
  }
  // The sandbox also logs the error of a module; shown above, it need not be said again.
  const printed = logs.filter(({ text }) => !thrown?.stack?.includes(text));
  if (printed.length > 0) {
    lines.push('', 'it printed:', ...printed.map((log) => `  ${log.level}  ${defuse(log.text)}`));
  }
  const { meaning, next } = OUTCOMES[outcome];
  const remedy = outcome === 'load_error' ? `correct ${place ?? 'the error'}` : next;
  return new CliError('failed', `${project.manifest.name} was not deployed: ${meaning}`, {
    code: error.code,
    lines,
    details: { ...failure.data, ...(place !== undefined && { place }) },
    next: `${remedy}, then: offshoot deploy`,
    cause: error,
  });
}

/** The command with which a person calls a function that has just been deployed. */
export function curlLine(result: DeployResult, gatewayUrl: string): string {
  const url = functionUrl(result.function, gatewayUrl);
  const { access } = result.function.settings;
  return access === 'public'
    ? `curl ${shellWord(url)}`
    : `curl -H "Authorization: Bearer $OFFSHOOT_API_KEY" ${shellWord(url)}`;
}
