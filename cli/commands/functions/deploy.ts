/** offshoot deploy: bundle, upload, wait until the new version has loaded. */
import { builderOf } from '../../bundle/builder.ts';
import { functionUrl } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { curlLine, deployOnce, type Deployment } from '../../deploy/deploy.ts';
import { Progress } from '../../terminal/progress.ts';
import type { Project } from '../../bundle/terms/build.ts';
import { readProject } from '../../bundle/project.ts';
import { bytes, milliseconds } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function deploy(context: Context, { folder = '.' }: Given<typeof verbs.deploy>): Promise<void> {
  const { terminal } = context;
  const project = await readProject(folder);
  const client = connect(context);
  const progress = new Progress(terminal);
  const builder = await builderOf(project).open(project);
  let deployment: Deployment;
  try {
    deployment = await deployOnce(client, project, builder, progress);
  } finally {
    progress.clear();
    await builder.dispose();
  }
  const { result, archive, build, uploaded } = deployment;
  for (const warning of build.warnings) {
    terminal.note(`${terminal.noteStyle('yellow', 'warning:')} ${warning.join('\n  ')}`);
  }
  const { active, namespace, name } = result.function;
  const { acquire, init } = result.load;
  const curl = curlLine(result, client.target.url);
  terminal.document({
    ...result,
    digest: archive.digest,
    archiveBytes: archive.data.length,
    files: archive.entries,
    uploaded,
    packages: build.packages.map((found) => ({ name: found.name, version: found.version })),
    curl,
  });
  const size = `${bytes(archive.data.length)} in ${archive.entries} files${uploaded ? '' : ', uploaded before'}`;
  terminal.print(
    `${terminal.style('green', '✓')} ${terminal.style('bold', `${namespace}/${name}`)} version ${active.version} is live`,
  );
  terminal.print(`  size     ${size}`);
  const imported = build.packages.filter(({ isImported }) => isImported);
  const names = [...new Set(imported.map((found) => found.name))];
  if (names.length > 0) {
    const needed = build.packages.length - imported.length;
    terminal.print(
      `  as files ${names.toSorted().join(', ')}${needed > 0 ? ` and ${needed} that they need` : ''}`,
    );
  }
  terminal.print(
    `  loaded   in ${milliseconds(acquire + init)}: sandbox ${milliseconds(acquire)}, module ${milliseconds(init)}`,
  );
  terminal.print(`  access   ${accessText(project)}`);
  terminal.print(`  url      ${functionUrl(result.function, client.target.url)}`);
  terminal.print();
  terminal.print(`  ${curl}`);
}

function accessText({ manifest }: Project): string {
  return manifest.access === 'public'
    ? 'public: all who reach the gateway may call it ("access" in offshoot.json)'
    : 'by key ("access" in offshoot.json); to make one: offshoot keys create --scope invoke';
}
