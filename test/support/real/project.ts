/**
 * Projects as users bring them: files, and packages from a registry. Each answers from source by plain Node, and from its
 * archive in a sandbox.
 */
import { execFile, type ExecFileException } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { extract } from 'tar';
import { onTestFinished } from 'vitest';
import type { Runtime } from '#contract/functions/manifest.ts';
import { archiveOf, type Archive } from '../../../cli/bundle/archive.ts';
import type { Build } from '../../../cli/bundle/terms/build.ts';
import { Bundler } from '../../../cli/bundle/bundle.ts';
import { readProject } from '../../../cli/bundle/project.ts';
import { SandboxBench, type BenchSandbox, type StartOptions } from '../sandbox/sandbox-bench.ts';

const RUN_SOURCE = fileURLToPath(new URL('run-source.mjs', import.meta.url));
/** Upper bound on the time that an installation of packages, or a function run from source, takes. */
const PROGRAM_LIMIT_MS = 100_000;

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Path in the project → text. Without them, offshoot.json names the function `sample` and package.json is of ES modules. */
export type Files = Readonly<Record<string, string | Uint8Array>>;

export interface Built {
  readonly bundle: Build;
  readonly archive: Archive;
}

/** A project in a folder that is gone when the test has finished. */
export class RealProject {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Writes more files, for example into node_modules after the installation. */
  write(files: Files): this {
    for (const [name, content] of Object.entries(files)) {
      const file = path.join(this.folder, name);
      mkdirSync(path.dirname(file), { recursive: true });
      // Packages are hard links of the cache: a new file, never a change of an old one.
      rmSync(file, { force: true });
      writeFileSync(file, content);
    }
    return this;
  }

  /** Answer of the module by plain Node. `entry`: the module where the source must be compiled first. */
  async fromSource(request = '/', entry = 'src/index.ts', env: NodeJS.ProcessEnv = {}): Promise<Answer> {
    const output = path.join(path.dirname(this.folder), `${path.basename(this.folder)}.json`);
    onTestFinished(() => rmSync(output, { force: true }));
    const args = [RUN_SOURCE, path.join(this.folder, entry), request, output];
    await run(process.execPath, args, this.folder, { NODE_ENV: 'production', ...env });
    return JSON.parse(readFileSync(output, 'utf8')) as Answer;
  }

  /** Bundle and archive, as `offshoot deploy` makes them. Throws its CliError. */
  async build(): Promise<Built> {
    const bundler = await Bundler.create(await readProject(this.folder));
    try {
      const bundle = await bundler.run();
      return { bundle, archive: await archiveOf(bundle) };
    } finally {
      await bundler.dispose();
    }
  }

  /** Runs a program in the project, with the project's own programs first on PATH. Throws its output if it fails. */
  async exec(program: string, args: readonly string[]): Promise<string> {
    return await run(program, args, this.folder);
  }
}

/** A bench of sandboxes, and the packages that its projects need. */
export class RealBench {
  readonly sandboxes: SandboxBench;

  private constructor(sandboxes: SandboxBench) {
    this.sandboxes = sandboxes;
  }

  static async open(runtime: Runtime = 'node26'): Promise<RealBench> {
    return new RealBench(await SandboxBench.open(runtime));
  }

  /** `packages`: `name@version` of each, as npm takes them. Installed once, then kept in the state directory. */
  async project(files: Files, packages: readonly string[] = []): Promise<RealProject> {
    const root = path.join(stateDirectory(), 'real', 'projects');
    mkdirSync(root, { recursive: true });
    const folder = mkdtempSync(path.join(root, 'p-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const dependencies: Record<string, string> = {};
    for (const name of packages) {
      const at = name.lastIndexOf('@');
      dependencies[name.slice(0, at)] = name.slice(at + 1);
    }
    if (packages.length > 0) {
      const installed = await install(dependencies);
      await run('cp', ['-al', path.join(installed, 'node_modules'), folder], root);
    }
    return new RealProject(folder).write({
      'offshoot.json': '{"name":"sample"}',
      'package.json': JSON.stringify({ name: 'sample', type: 'module', dependencies }),
      ...files,
    });
  }

  /** A sandbox with the archive of a project; it ends with the test. */
  async start({ bundle, archive }: Built, options: StartOptions = {}): Promise<BenchSandbox> {
    const scratch = mkdtempSync(path.join(stateDirectory(), 'real', 'unpacked-'));
    onTestFinished(() => rmSync(scratch, { recursive: true, force: true }));
    const code = path.join(scratch, 'code');
    mkdirSync(code);
    writeFileSync(path.join(scratch, 'archive.tar.gz'), archive.data);
    await extract({ file: path.join(scratch, 'archive.tar.gz'), cwd: code });
    const name = await this.sandboxes.addDirectory(code);
    const sandbox = await this.sandboxes.start(name, false, {
      entry: bundle.entryFile,
      memoryMb: 512,
      env: { NODE_ENV: 'production' },
      ...options,
    });
    let ending: Promise<void> | undefined;
    const end = (): Promise<void> => (ending ??= sandbox.end());
    onTestFinished(end);
    return { ...sandbox, end };
  }

  /** Answer of a project from its archive, in a sandbox that ends at once. */
  async fromArchive(project: RealProject, request = '/', options: StartOptions = {}): Promise<Answer> {
    const sandbox = await this.start(await project.build(), options);
    try {
      return await sandbox.call(request);
    } finally {
      await sandbox.end();
    }
  }

  async close(): Promise<void> {
    await this.sandboxes.close();
  }
}

function stateDirectory(): string {
  const state = process.env['OFFSHOOT_STATE'];
  if (!state) throw new Error('OFFSHOOT_STATE is not set; run the tests by: npm run test:real');
  return state;
}

/** Folder with these packages below its node_modules. Scripts of packages do not run: they may need the network. */
async function install(dependencies: Readonly<Record<string, string>>): Promise<string> {
  const cache = path.join(stateDirectory(), 'real', 'packages');
  const manifest = JSON.stringify({ private: true, dependencies });
  const folder = path.join(cache, createHash('sha256').update(manifest).digest('hex').slice(0, 20));
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(path.join(cache, 'new-'));
  try {
    writeFileSync(path.join(scratch, 'package.json'), manifest);
    const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    await run('npm', [...args, `--cache=${path.join(cache, 'npm')}`], scratch);
    renameSync(scratch, folder);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return folder;
}

function run(
  program: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const bin = [path.join(cwd, 'node_modules', '.bin'), process.env['PATH']].join(path.delimiter);
    const options = { cwd, env: { ...process.env, PATH: bin, ...env }, timeout: PROGRAM_LIMIT_MS };
    execFile(program, args, options, (error: ExecFileException | null, stdout: string, stderr: string) => {
      if (error) reject(new Error(`${program} ${args.join(' ')}: ${stderr || stdout || error.message}`));
      else resolve(stdout);
    });
  });
}
