/** Paths below /api/v1. Names and ids come from a command line, so they are escaped. */

export function functionPath(namespace: string, name: string): string {
  return `/functions/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}

export function invocationPath(id: string): string {
  return `/invocations/${encodeURIComponent(id)}`;
}

export function batchPath(id: string): string {
  return `/batches/${encodeURIComponent(id)}`;
}

export function callbackSecretPath(namespace: string): string {
  return `/callbacks/${encodeURIComponent(namespace)}/secret`;
}

export function limitsPath(namespace: string): string {
  return `/namespaces/${encodeURIComponent(namespace)}/limits`;
}

export function deadLetterPath(namespace: string): string {
  return `/dead-letters/${encodeURIComponent(namespace)}`;
}
