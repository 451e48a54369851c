/** Names of packages in the specifiers of imports. */

/** `hono` of `hono/cors`, `@scope/name` of `@scope/name/sub`; undefined for what is not a package name. */
export function packageNameOf(specifier: string): string | undefined {
  const match = /^(?:@[^/\\]+\/)?[^./\\@#:][^/\\:]*/.exec(specifier);
  return match?.[0] === specifier || specifier[match?.[0].length ?? 0] === '/' ? match?.[0] : undefined;
}
