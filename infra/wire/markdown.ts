/** The tables of docs/runtime-protocol.md. */
import { CONTROLS, FRAMES, LAYOUTS, type Field, type Message } from '#contract/wire/layouts.ts';
import { EDIT_THAT } from './table.ts';

/** The page with its tables made anew; the text around them is written by hand. */
export function withTables(page: string): string {
  let result = page;
  const tables = { frames: frames(), controls: controls(), layouts: layouts() };
  for (const [name, table] of Object.entries(tables)) {
    const between = new RegExp(`(<!-- ${name}[^>]*-->\n)[^]*?(\n<!-- end of ${name} -->)`);
    if (!between.test(result)) throw new Error(`the page has no place for the table ${name}`);
    result = result.replace(
      between,
      (_, _start: string, end: string) => `<!-- ${name}: ${EDIT_THAT} -->\n\n${table}\n${end}`,
    );
  }
  return result;
}

function frames(): string {
  const rows = Object.entries(FRAMES as Readonly<Record<string, Message>>).map(([name, frame]) => {
    const to = frame.from === 'worker' ? 'worker → sandbox' : 'sandbox → worker';
    return `| ${frame.number} | \`${name}\` | ${to}${frame.core ? ', core' : ''} | ${payload(frame.fields)} | ${frame.about} |`;
  });
  return ['| kind | name | way | payload | meaning |', '|---|---|---|---|---|', ...rows].join('\n');
}

function controls(): string {
  const rows = Object.entries(CONTROLS).map(([name, { number, from, about, holds }]) => {
    const to = from === 'worker' ? 'worker → zygote' : 'zygote → worker';
    const numbers = Object.entries(holds).map(([field, meaning]) => `${field}: ${meaning}`);
    return `| ${number} | \`${name}\` | ${to} | ${numbers.join('; ')} | ${about} |`;
  });
  return ['| kind | name | way | numbers | meaning |', '|---|---|---|---|---|', ...rows].join('\n');
}

function layouts(): string {
  const rows = Object.entries(LAYOUTS).map(
    ([name, { about, fields }]) => `| \`${name}\` | ${payload(fields)} | ${about} |`,
  );
  return ['| name | fields | where |', '|---|---|---|', ...rows].join('\n');
}

function payload(fields: readonly Field[]): string {
  return fields.map(describe).join(', ') || 'none';
}

function describe(field: Field): string {
  const about = field.about === undefined ? '' : ` (${field.about})`;
  switch (field.type) {
    case 'u32s':
      return `\`${field.name}\` ${field.count} × u32${about}`;
    case 'text':
      return `\`${field.name}\` ${field.bytes} bytes of text, padded with NUL${about}`;
    case 'id':
      return `\`${field.name}\` 8 bytes${field.when === undefined ? '' : ` if bit ${field.when} of the first byte is set`}${about}`;
    case 'sized':
      return `\`${field.name}\` u32 length and as many bytes${about}`;
    case 'rest':
      return `\`${field.name}\` the rest${about}`;
    case 'u8':
    case 'u32':
    case 'i32':
    case 'u64':
      return `\`${field.name}\` ${field.type}${about}`;
  }
}
