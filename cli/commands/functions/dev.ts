/** offshoot dev: deploy at every change, follow the logs; start the platform when none runs. */
import type { Builder, Project } from '../../bundle/terms/build.ts';
import { builderOf } from '../../bundle/builder.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { curlLine, deployOnce } from '../../deploy/deploy.ts';
import { CliError } from '../../terminal/errors.ts';
import { interruptSignal } from '../../terminal/interrupt.ts';
import { followLogs, formatLog } from '../../show/log-lines.ts';
import { isAnswering, startPlatform, type Platform } from '../../deploy/platform.ts';
import { Progress } from '../../terminal/progress.ts';
import { MANIFEST_FILE, readProject } from '../../bundle/project.ts';
import { milliseconds } from '../../terminal/text.ts';
import { watchSources } from '../../deploy/watch.ts';
import type { Client } from '../../api/client.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function dev(context: Context, { folder = '.' }: Given<typeof verbs.dev>): Promise<number> {
  const { terminal } = context;
  const signal = interruptSignal();
  // A folder that is no function should be told before the platform is started for it.
  const project = await readProject(folder);
  const { url } = connect(context).target;
  let platform: Platform | undefined;
  try {
    if (!(await isAnswering(url))) {
      terminal.note(`no platform answers at ${url}; starting one`);
      const onLine = (line: string): void => terminal.note(terminal.noteStyle('dim', `  ${line}`));
      platform = await startPlatform(url, onLine, signal);
    }
    // Only now: the first start of a platform is what makes the key that is found in its state.
    await new Session(context, connect(context), project).run(signal);
  } finally {
    if (platform) {
      terminal.note('stopping the platform');
      await platform.stop();
    }
  }
  return 0;
}

/** The loop of one `offshoot dev`: one deployment at a time, and always one after the last change. */
class Session {
  readonly #context: Context;
  readonly #client: Client;
  #project: Project;
  #builder: Builder | undefined;
  #changed: () => void = () => undefined;
  /** When the first version of this session was made, by the platform's clock. */
  #live: number | undefined;

  constructor(context: Context, client: Client, project: Project) {
    this.#context = context;
    this.#client = client;
    this.#project = project;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { directory } = this.#project;
    let dirty = true;
    let wake: (() => void) | undefined;
    this.#changed = () => {
      dirty = true;
      wake?.();
    };
    signal.addEventListener('abort', () => wake?.());
    const watcher = watchSources(directory, () => this.#changed());
    let following: Promise<void> | undefined;
    try {
      while (!signal.aborted) {
        if (!dirty) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        dirty = false;
        const sources = await this.#deploy();
        watcher.also(sources);
        if (this.#live !== undefined) following ??= this.#follow(signal, this.#live);
      }
    } finally {
      watcher.close();
      await this.#builder?.dispose();
      await following;
    }
  }

  /** Deploys once; an error is shown, and the version before goes on serving. Answers the sources to watch. */
  async #deploy(): Promise<Iterable<string>> {
    const { terminal } = this.#context;
    const start = performance.now();
    try {
      await this.#readProject();
      this.#builder ??= await builderOf(this.#project).open(this.#project);
      const progress = new Progress(terminal);
      const { result, build } = await deployOnce(
        this.#client,
        this.#project,
        this.#builder,
        progress,
      ).finally(() => progress.clear());
      const { namespace, name, activeVersion } = result.function;
      const curl = curlLine(result, this.#client.target.url);
      const took = performance.now() - start;
      terminal.print(
        `${terminal.style('green', '✓')} ${namespace}/${name} version ${activeVersion} in ${milliseconds(took)}   ${curl}`,
      );
      terminal.documentLine({
        event: 'deployed',
        namespace,
        name,
        version: activeVersion,
        milliseconds: took,
        curl,
      });
      this.#live ??= result.function.active.createdAt;
      return build.sources.values();
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      // Nothing that a change to the source could mend.
      if (this.#live === undefined && (error.kind === 'unreachable' || error.kind === 'forbidden'))
        throw error;
      if (terminal.json) terminal.documentLine({ event: 'failed', ...error.toBody() });
      else terminal.error(error);
      terminal.note(
        this.#live !== undefined
          ? 'the version before goes on serving; waiting for a change'
          : 'waiting for a change',
      );
      return [];
    }
  }

  /** Reads offshoot.json again; what it says is part of the bundle's options, so another text needs a new builder. */
  async #readProject(): Promise<void> {
    const project = await readProject(this.#project.directory);
    if (project.manifest.name !== this.#project.manifest.name) {
      throw new CliError('usage', `the name in ${MANIFEST_FILE} has changed to ${project.manifest.name}`, {
        next: 'press Ctrl-C, then: offshoot dev',
      });
    }
    if (JSON.stringify(project) !== JSON.stringify(this.#project)) {
      await this.#builder?.dispose();
      this.#builder = undefined;
    }
    this.#project = project;
  }

  async #follow(signal: AbortSignal, since: number): Promise<void> {
    const { terminal } = this.#context;
    const { namespace } = this.#client.target;
    try {
      for await (const line of followLogs(
        this.#client,
        namespace,
        this.#project.manifest.name,
        signal,
        since,
      )) {
        terminal.print(formatLog(line, terminal));
        terminal.documentLine({ event: 'log', ...line });
      }
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      terminal.note(`the logs cannot be followed: ${error.message}`);
    }
  }
}
