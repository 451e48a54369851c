/** offshoot init NAME: a folder with a new function, ready to be deployed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Name, NAME_RULE } from '#contract/functions/names.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError, messageOf } from '../../terminal/errors.ts';
import { Progress } from '../../terminal/progress.ts';
import type { Terminal } from '../../terminal/terminal.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

const TEMPLATES = fileURLToPath(new URL('../../templates/', import.meta.url));
const SCHEMA = fileURLToPath(new URL('../../../contract/offshoot.schema.json', import.meta.url));

export async function init(
  context: Context,
  { name, template, install }: Given<typeof verbs.init>,
): Promise<void> {
  const { terminal } = context;
  if (!Name.safeParse(name).success) {
    throw new CliError('usage', `"${name}" cannot be the name of a function: ${NAME_RULE}`, {
      code: 'bad_name',
      next: `offshoot init ${legalName(name)}`,
    });
  }
  const directory = path.resolve(name);
  refuseUsedFolder(directory, name);
  const files = copyTemplate('shared', directory, name).concat(copyTemplate(template, directory, name));
  copyFileSync(SCHEMA, path.join(directory, 'types', 'offshoot.schema.json'));
  files.push('types/offshoot.schema.json');

  const needsPackages = /"dependencies"/.test(readFileSync(path.join(directory, 'package.json'), 'utf8'));
  const installed = needsPackages && install;
  if (installed) await npmInstall(directory, name, terminal);

  const commands = [`cd ${name}`, ...(needsPackages && !installed ? ['npm install'] : []), 'offshoot deploy'];
  terminal.document({
    name,
    directory,
    template,
    files: files.toSorted(),
    installed,
    next: commands,
  });
  terminal.print(
    `${terminal.style('green', '✓')} made ${terminal.style('bold', name)} from the ${template} template`,
  );
  terminal.print('  the code is src/index.ts; offshoot.json says how it runs');
  terminal.print('  access is public: all who reach the gateway may call it ("access" in offshoot.json)');
  terminal.print();
  for (const command of commands) terminal.print(`  ${command}`);
}

function refuseUsedFolder(directory: string, name: string): void {
  let found: string[] = [];
  try {
    found = readdirSync(directory);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw new CliError('usage', `${directory} cannot be used: ${messageOf(error)}`, {
      code: 'folder_in_use',
      next: `offshoot init ${name}-2`,
      cause: error,
    });
  }
  if (found.length === 0) return;
  throw new CliError('usage', `the folder ${directory} is there already and is not empty`, {
    code: 'folder_in_use',
    next: `choose another name: offshoot init ${name}-2`,
  });
}

/** Copies a template and answers the paths of its files in the new folder. */
function copyTemplate(template: string, directory: string, name: string): string[] {
  const source = path.join(TEMPLATES, template);
  const files = readdirSync(source, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(source, path.join(entry.parentPath, entry.name)));
  return files.map((file) => {
    // Under its real name it would make git ignore files of the templates themselves.
    const target = file === 'gitignore' ? '.gitignore' : file;
    mkdirSync(path.dirname(path.join(directory, target)), { recursive: true });
    const text = readFileSync(path.join(source, file), 'utf8');
    writeFileSync(path.join(directory, target), text.replaceAll('{{name}}', name));
    return target;
  });
}

async function npmInstall(directory: string, name: string, terminal: Terminal): Promise<void> {
  const progress = new Progress(terminal);
  progress.step('installing npm packages');
  const child = spawn('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const errors: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
  const failure = await once(child, 'close').then(
    ([code]) => (code === 0 ? undefined : errors.join('').trim() || `npm ended with ${String(code)}`),
    (error: unknown) => messageOf(error),
  );
  progress.clear();
  if (failure === undefined) return;
  throw new CliError('failed', `the folder ${name} is made, but its npm packages could not be installed`, {
    code: 'npm_failed',
    lines: failure.split('\n').slice(-8),
    next: `cd ${name} && npm install && offshoot deploy`,
  });
}

/** The nearest legal name, to be offered. */
function legalName(name: string): string {
  const legal = path
    .basename(name)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');
  return legal || 'hello';
}
