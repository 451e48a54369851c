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
  const rows = Object.entries(FRAMES as Readonly<Record<string, Message>>).flatMap(([name, frame]) => {
    const way = frame.from === 'worker' ? 'worker → sandbox' : 'sandbox → worker';
    const head = `| ${frame.number} | **${name}** | ${way}${frame.core ? ', core' : ''} | ${frame.about} |`;
    return [head, ...frame.fields.map((field) => `| ${row(field)} |`)];
  });
  return ['| kind | name, fields | way, size | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

function controls(): string {
  const rows = Object.entries(CONTROLS).flatMap(([name, { number, from, about, holds }]) => {
    const way = from === 'worker' ? 'worker → zygote' : 'zygote → worker';
    const numbers = Object.entries(holds).map(([field, meaning]) => `| | \`${field}\` | | ${meaning} |`);
    return [`| ${number} | **${name}** | ${way} | ${about} |`, ...numbers];
  });
  return ['| kind | name, numbers | way | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

function layouts(): string {
  const rows = Object.entries(LAYOUTS).flatMap(([name, { about, fields }]) => [
    `| | **${name}** | | ${about} |`,
    ...fields.map((field) => `| ${row(field)} |`),
  ]);
  return ['| | name, fields | size | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

/** A field as three cells behind an empty one. */
function row(field: Field): string {
  return ` | \`${field.name}\` | ${size(field)} | ${field.about ?? ''}`;
}

function size(field: Field): string {
  switch (field.type) {
    case 'u32s':
      return `${field.count} × u32`;
    case 'text':
      return `${field.bytes} bytes, padded with NUL`;
    case 'id':
      return `8 bytes${field.when === undefined ? '' : `, if bit ${field.when} of the first byte is set`}`;
    case 'sized':
      return 'u32 length, and as many bytes';
    case 'rest':
      return 'the rest';
    case 'u8':
    case 'u32':
    case 'i32':
    case 'u64':
      break;
  }
  return field.type;
}
