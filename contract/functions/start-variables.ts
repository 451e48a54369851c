/**
 * The variables that Node reads when it starts. A sandbox is a fork of a Node that has started already. So each of them is either
 * applied in another way (runtime-images/node/bootstrap/sandbox/start-variables.ts), or refused by name at deploy. No schema library
 * here, because the bootstrap contains this file too.
 */

/** Environment of every function and of its child processes; `env` of offshoot.json overrides it. */
export const BASE_ENVIRONMENT: Readonly<Record<string, string>> = {
  HOME: '/tmp',
  LANG: 'C.UTF-8',
  LOGNAME: 'sandbox',
  NODE_ENV: 'production',
  PATH: '/usr/local/bin:/usr/bin:/bin',
  // Servers of a function listen where they are told to; nothing else in a sandbox uses a port.
  PORT: '8080',
  SHELL: '/bin/sh',
  TMPDIR: '/tmp',
  TZ: 'UTC',
  USER: 'sandbox',
};

const FOR_CHILDREN = 'it is read when a program starts: set it in the env of the program that you start';
const CERTIFICATES = 'use NODE_EXTRA_CA_CERTS, or the option "ca" of a connection';
/** Name → reason for which it is refused, or the other way to what it does. */
const REFUSED: Readonly<Record<string, string>> = {
  LD_AUDIT: FOR_CHILDREN,
  LD_PRELOAD: FOR_CHILDREN,
  NODE_ICU_DATA: 'all languages are there already',
  NODE_PENDING_DEPRECATION: 'it has no effect here: use it in your own tests',
  NODE_REDIRECT_WARNINGS: "warnings belong to the function's log",
  NODE_USE_SYSTEM_CA: CERTIFICATES,
  NODE_V8_COVERAGE: 'it has no effect here: use it in your own tests',
  OPENSSL_CONF: 'it has no effect here: use the options of a connection',
  SSL_CERT_DIR: CERTIFICATES,
  SSL_CERT_FILE: CERTIFICATES,
};

/** Options of NODE_OPTIONS that a sandbox can apply, by their form: with a value, or without. */
const WITH_VALUE = new Set(['--import', '--require', '-r', '--stack-trace-limit', '--dns-result-order']);
const WITHOUT_VALUE = new Set([
  '--enable-source-maps',
  '--no-deprecation',
  '--throw-deprecation',
  '--trace-deprecation',
]);

/** One option, such as `--import` with `./telemetry.mjs`. */
export interface NodeOption {
  readonly name: string;
  readonly value: string;
}

/** Takes NODE_OPTIONS apart as Node does: by blanks, with "…" around a part that has one. Throws an Error for one that is refused. */
export function readNodeOptions(text: string): NodeOption[] {
  const parts = [...text.matchAll(/(?:[^\s"]|"(?:[^"\\]|\\.)*")+/g)].map(([part]) =>
    part.replaceAll(/"((?:[^"\\]|\\.)*)"/g, (_, inner: string) => inner.replaceAll(/\\(.)/g, '$1')),
  );
  const options: NodeOption[] = [];
  for (let at = 0; at < parts.length; at++) {
    const part = parts[at] ?? '';
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    if (WITHOUT_VALUE.has(name) && equals < 0) options.push({ name, value: '' });
    else if (WITH_VALUE.has(name))
      options.push({ name, value: equals < 0 ? (parts[++at] ?? '') : part.slice(equals + 1) });
    else
      throw new Error(
        `${name} is no option that a function can choose; ${[...WITH_VALUE, ...WITHOUT_VALUE].join(', ')} are`,
      );
  }
  return options;
}

/** Returns the reason for which a variable cannot be set, in words for its author, or undefined. */
export function refusedVariable(name: string, value: string): string | undefined {
  const reason = Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
  if (reason !== undefined) return reason;
  if (name === 'TZ' && !isTimeZone(value)) return 'not a time zone, such as "Europe/Berlin"';
  if (name !== 'NODE_OPTIONS') return undefined;
  try {
    readNodeOptions(value);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Every zone that the runtime knows, links and offsets included; POSIX writes a colon in front of a name. */
function isTimeZone(name: string): boolean {
  try {
    Intl.DateTimeFormat('en', { timeZone: name.replace(/^:/, '') });
    return true;
  } catch {
    return false;
  }
}
