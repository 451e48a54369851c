/** Text of a stranger, made fit to be shown. */

/** C0 and C1 control characters, except tab; a terminal acts on the others, so a function's output must not hold them. */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g;
/** Characters that reorder the text around them (Unicode bidi controls), or end a line, with which a text can be made to lie. */
const BIDI = /[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** Halves of characters: whoever encodes them writes something else in their place. */
const LONE_SURROGATE = /\p{Surrogate}/gu;
/** Those of all these that JSON.stringify() leaves as they are. */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const RAW_IN_JSON = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** Text of a stranger, made safe to print on a terminal: control characters are shown as pictures or escapes. */
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

/** JSON of a value, the same to programs, but with nothing in it on which a terminal acts, if somebody looks at it there. */
export function terminalJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(RAW_IN_JSON, escaped);
}
