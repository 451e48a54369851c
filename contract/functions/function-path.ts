/** Functions are called at FUNCTION_PREFIX{namespace}/{name}/{path}. No schema library here: this file is part of every sandbox. */
export const FUNCTION_PREFIX = '/fn/';

/** Path of a function, without a slash at its end. The names are escaped. */
export function callPath(namespace: string, name: string): string {
  return `${FUNCTION_PREFIX}${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}
