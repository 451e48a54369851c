/** Untrusted text, made safe to show. */

/** C0 and C1 control characters, except tab. A terminal acts on them, so they must not reach it from a function's output. */
// eslint-disable-next-line no-control-regex -- it searches for control characters
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g;
/** Characters that reorder the text around them (Unicode bidi controls) or end a line, and so can make a text mislead. */
const BIDI = /[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** Halves of characters: an encoder replaces them by another character. */
const LONE_SURROGATE = /\p{Surrogate}/gu;
/** Characters of these kinds that JSON.stringify() does not escape. */
// eslint-disable-next-line no-control-regex -- it searches for control characters
const RAW_IN_JSON = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** Untrusted text, made safe for a terminal: control characters become pictures or escapes. */
export function defuse(text: string): string {
  return text
    .replace(CONTROL, (character) => {
      const code = character.charCodeAt(0);
      if (code < 0x20) return String.fromCharCode(0x2400 + code);
      return code === 0x7f ? '\u2421' : `\\x${code.toString(16)}`;
    })
    .replace(BIDI, escaped)
    .replace(LONE_SURROGATE, escaped);
}

/** JSON of a value, the same to programs, but without characters on which a terminal acts. */
export function terminalJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(RAW_IN_JSON, escaped);
}
