/**
 * Applies the variables that Node reads when it starts, and which the zygote could not know: contract/functions/start-variables.ts.
 * The others, such as TZ and NODE_TLS_REJECT_UNAUTHORIZED, Node reads whenever it needs them.
 */
import { readFileSync } from 'node:fs';
import http from 'node:http';
import module, { createRequire, syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import tls from 'node:tls';
import util from 'node:util';
import { readNodeOptions, type NodeOption } from '#contract/functions/start-variables.ts';

const TASK = '/var/task/';

/** `setLocale`: see ZygoteAddon. Rejects with the error of a module that NODE_OPTIONS names. */
export async function applyStartVariables(
  env: Readonly<Record<string, string>>,
  setLocale: (name: string) => void,
): Promise<void> {
  // The order of setlocale(3).
  const locale = env['LC_ALL'] || env['LC_MESSAGES'] || env['LANG'];
  if (locale) setLocale(localeOf(locale));
  if (env['NODE_DEBUG']) listenToDebug(env['NODE_DEBUG']);
  if (env['NODE_EXTRA_CA_CERTS']) trust(path.resolve(TASK, env['NODE_EXTRA_CA_CERTS']));
  if (env['NODE_USE_ENV_PROXY'] === '1') useProxy();
  if (env['NODE_COMPILE_CACHE']) module.enableCompileCache(env['NODE_COMPILE_CACHE']);
  if (env['NODE_OPTIONS']) for (const option of readNodeOptions(env['NODE_OPTIONS'])) await apply(option);
}

/** `de_DE.UTF-8@euro` → `de_DE`, in the form that ICU takes. */
function localeOf(name: string): string {
  const [language = ''] = name.split(/[.@]/);
  return language === 'C' || language === 'POSIX' ? 'en_US_POSIX' : language;
}

/** Adds the certificates of a file to those that Node trusts. As Node does, goes on without a file that cannot be read. */
function trust(file: string): void {
  try {
    tls.setDefaultCACertificates([...tls.getCACertificates('default'), readFileSync(file, 'utf8')]);
  } catch (error) {
    process.emitWarning(`Ignoring extra certs from \`${file}\`, load failed: ${String(error)}`);
  }
}

/** Of Node 26, and of later versions of 24. */
function useProxy(): void {
  const { setGlobalProxyFromEnv } = http as { setGlobalProxyFromEnv?: () => unknown };
  setGlobalProxyFromEnv?.();
}

/**
 * Replaces util.debuglog() for the sections that NODE_DEBUG names. Those of Node's own modules have been asked for in the zygote, so
 * they stay silent.
 */
function listenToDebug(names: string): void {
  const patterns = names.split(',').map((name) => {
    const escaped = name.trim().replaceAll(/[|\\{}()[\]^$+?.]/g, String.raw`\$&`);
    return new RegExp(`^${escaped.replaceAll('*', '.*')}$`, 'i');
  });
  const debuglog = (section: string): util.DebugLogger => {
    const enabled = patterns.some((pattern) => pattern.test(section));
    const print = (...values: unknown[]): void => {
      if (enabled)
        process.stderr.write(`${section.toUpperCase()} ${process.pid}: ${util.format(...values)}\n`);
    };
    return Object.assign(print, { enabled }) as util.DebugLogger;
  };
  util.debuglog = debuglog;
  util.debug = debuglog;
  syncBuiltinESMExports();
}

async function apply({ name, value }: NodeOption): Promise<void> {
  switch (name) {
    case '--import':
      await import(value.startsWith('.') ? pathToFileURL(path.resolve(TASK, value)).href : resolved(value));
      return;
    case '--require':
    case '-r':
      createRequire(TASK)(value);
      return;
    case '--stack-trace-limit':
      Error.stackTraceLimit = Number(value);
      return;
    case '--dns-result-order':
      // Not by an import: in the zygote, its default export would make a resolver with the zygote's name servers.
      process.getBuiltinModule('node:dns').setDefaultResultOrder(value as 'verbatim');
      return;
    case '--enable-source-maps':
      process.setSourceMapsEnabled(true);
      return;
    case '--no-deprecation':
      process.noDeprecation = true;
      return;
    case '--throw-deprecation':
      process.throwDeprecation = true;
      return;
    default:
      process.traceDeprecation = true;
  }
}

/** Packages are looked for from the function's folder, not from that of the bootstrap. */
function resolved(name: string): string {
  if (name.startsWith('/')) return pathToFileURL(name).href;
  return /^[a-z]+:/.test(name) ? name : pathToFileURL(createRequire(TASK).resolve(name)).href;
}
