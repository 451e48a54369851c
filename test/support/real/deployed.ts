/** Functions of one source file on a running platform, as a user deploys and calls them. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { CliResult, Platform } from '../platform/platform.ts';

/** Deploys a module of JavaScript as the public function `name`. */
export async function deploySource(
  platform: Platform,
  name: string,
  source: string,
  manifest: Readonly<Record<string, unknown>> = {},
): Promise<CliResult> {
  const folder = path.join(platform.state, 'projects', name);
  await mkdir(path.join(folder, 'src'), { recursive: true });
  await writeFile(path.join(folder, 'src/index.mjs'), source);
  const settings = { name, entry: 'src/index.mjs', access: 'public', ...manifest };
  await writeFile(path.join(folder, 'offshoot.json'), JSON.stringify(settings));
  return await platform.cli('deploy', folder);
}

/** The lines of a function's log, or of one invocation's, with level and mark. */
export async function linesOf(platform: Platform, name: string, id?: string): Promise<string> {
  const { stdout, stderr } = await platform.cli('logs', name, ...(id === undefined ? [] : ['-i', id]));
  return stdout + stderr;
}

/** Waits until a function's log has a text. */
export async function untilLogged(platform: Platform, name: string, text: RegExp | string): Promise<string> {
  const end = Date.now() + 10_000;
  for (;;) {
    const lines = await linesOf(platform, name);
    if (typeof text === 'string' ? lines.includes(text) : text.test(lines)) return lines;
    if (Date.now() > end) throw new Error(`the log of ${name} has no ${String(text)}:\n${lines}`);
  }
}
