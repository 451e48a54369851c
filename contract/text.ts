/** Text of a stranger, made fit to be shown. */

/** C0 and C1 control characters, except tab; a terminal acts on the others, so a function's output must not hold them. */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g;
/** Characters that reorder the text around them (Unicode bidi controls), with which a line can be made to lie. */
const BIDI = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text of a stranger, made safe to print on a terminal: control characters are shown as pictures or escapes. */
export function defuse(text: string): string {
  return text
    .replace(CONTROL, (character) => {
      const code = character.charCodeAt(0);
      if (code < 0x20) return String.fromCharCode(0x2400 + code);
      return code === 0x7f ? '\u2421' : `\\x${code.toString(16)}`;
    })
    .replace(BIDI, (character) => `\\u${character.charCodeAt(0).toString(16)}`);
}
