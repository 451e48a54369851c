/** Text of a file that people write with editors of all kinds. */

/** UTF-8 without its byte order mark, which JSON does not allow. */
export function textOf(bytes: Uint8Array): string {
  return new TextDecoder('utf-8').decode(bytes);
}
