/** The TypeScript of the layouts: for the worker, and for the bootstrap of Node. */
import { CONTROLS, FRAMES, type Field } from '#contract/wire/layouts.ts';
import { ALL, cut, EDIT_THAT, pascal, sizeOf, sizes, type Cut } from './table.ts';

export function typescriptModule(): string {
  const layouts = ALL.map(([name, layout]) => cut(name, layout));
  const numbers = layouts.flatMap(sizes).map(([name, value]) => `export const ${name} = ${value};\n`);
  return [
    `// ${EDIT_THAT}\n`,
    '/** Kinds of the frames of a channel. */\n' + kinds('ChannelKind', FRAMES),
    '/** Kinds of the messages of a control socket. */\n' + kinds('ControlKind', CONTROLS),
    numbers.join(''),
    ...layouts.map(codec),
  ].join('\n');
}

function kinds(
  name: string,
  table: Readonly<Record<string, { number: number; from: string; about: string; core?: true }>>,
): string {
  const rows = Object.entries(table).map(([kind, { number, from, about, core }]) => {
    const to = from === 'worker' ? (name === 'ChannelKind' ? 'sandbox' : 'zygote') : 'worker';
    return `  /** ${from} → ${to}${core ? ', in C' : ''}: ${about} */\n  ${kind}: ${number},\n`;
  });
  return `export const ${name} = {\n${rows.join('')}} as const;\nexport type ${name} = (typeof ${name})[keyof typeof ${name}];\n`;
}

function codec(layout: Cut): string {
  const { name, about, head, sized, rest } = layout;
  const fields = [...head.map(({ field }) => field), ...[sized, rest].filter((field) => field !== undefined)];
  if (fields.length === 0)
    return `/** ${about} It has no payload. */\nexport const put${pascal(name)} = (): Uint8Array[] => [];\n`;
  const members = fields.map(member).join('');
  const hasBytes = sized !== undefined || rest !== undefined;
  const type = pascal(name);
  return (
    `/** ${about} */\n` +
    `export interface ${type}${hasBytes ? '<Bytes = Buffer>' : ''} {\n${members}}\n\n` +
    `/** The payload in parts, which are not copied. */\n` +
    `export function put${type}(from: ${type}${hasBytes ? '<Uint8Array>' : ''}): Uint8Array[] {\n${writer(layout)}}\n\n` +
    `/** Reads a payload, whose bytes are not copied; undefined when it does not have this layout. */\n` +
    `export function read${type}(payload: Buffer): ${type} | undefined {\n${reader(layout)}}\n`
  );
}

function member(field: Field): string {
  const about = field.about === undefined ? '' : `  /** ${field.about} */\n`;
  const type =
    field.type === 'text'
      ? 'string'
      : field.type === 'u32s'
        ? 'number[]'
        : field.type === 'u64'
          ? 'bigint'
          : field.type === 'id'
            ? `string${field.when === undefined ? '' : ' | undefined'}`
            : field.type === 'sized' || field.type === 'rest'
              ? 'Bytes'
              : 'number';
  return `${about}  readonly ${field.name}: ${type};\n`;
}

function writer({ head, headBytes, optional, sized, rest }: Cut): string {
  const tail = [sized, rest].flatMap((field) => (field ? [`from.${field.name}`] : []));
  if (headBytes === 0 && !optional) return `  return [${tail.join(', ')}];\n`;
  const size = optional
    ? `from.${optional.name} === undefined ? ${headBytes} : ${headBytes + sizeOf(optional)}`
    : `${headBytes}`;
  const lines = [`const head = Buffer.alloc(${size});`];
  for (const { field, offset } of head) lines.push(...write(field, offset, optional));
  if (sized) lines.push(`head.writeUInt32LE(from.${sized.name}.length, ${headBytes - 4});`);
  lines.push(`return [${['head', ...tail].join(', ')}];`);
  return lines.map((line) => `  ${line}\n`).join('');
}

function write(field: Field, offset: number, optional: Cut['optional']): string[] {
  const value = `from.${field.name}`;
  switch (field.type) {
    case 'u8': {
      const bit =
        offset === 0 && optional ? ` | (from.${optional.name} === undefined ? 0 : ${optional.when})` : '';
      return [`head[${offset}] = ${value}${bit};`];
    }
    case 'u32':
      return [`head.writeUInt32LE(${value}, ${offset});`];
    case 'i32':
      return [`head.writeInt32LE(${value}, ${offset});`];
    case 'u64':
      return [`head.writeBigUInt64LE(${value}, ${offset});`];
    case 'u32s':
      return [
        `for (let at = 0; at < ${field.count}; at++) head.writeUInt32LE(${value}[at] ?? 0, ${offset} + 4 * at);`,
      ];
    case 'text':
      return [`head.write(${value}, ${offset}, ${field.bytes - 1});`];
    case 'id':
      return [
        `${field.when === undefined ? '' : `if (${value} !== undefined) `}head.write(${value}, ${offset}, 8, 'hex');`,
      ];
    case 'sized':
    case 'rest':
      break;
  }
  return [];
}

function reader({ head, headBytes, optional, sized, rest }: Cut): string {
  const lines: string[] = [];
  const isWhole = !optional && !sized && !rest;
  if (isWhole) lines.push(`if (payload.length !== ${headBytes}) return undefined;`);
  else if (headBytes > 0) lines.push(`if (payload.length < ${headBytes}) return undefined;`);
  let end = `${headBytes}`;
  if (optional) {
    lines.push(`const has = ((payload[0] ?? 0) & ${optional.when}) !== 0;`);
    lines.push(`const end = has ? ${headBytes + sizeOf(optional)} : ${headBytes};`);
    lines.push('if (payload.length < end) return undefined;');
    end = 'end';
  }
  if (sized) {
    lines.push(`const end = ${headBytes} + payload.readUInt32LE(${headBytes - 4});`);
    lines.push(`if (payload.length ${rest ? '<' : '!=='} end) return undefined;`);
    end = 'end';
  }
  for (const { field, offset } of head) {
    if (field.type !== 'text') continue;
    lines.push(`const ${field.name}End = payload.indexOf(0, ${offset});`);
    lines.push(`if (${field.name}End < 0 || ${field.name}End >= ${offset + field.bytes}) return undefined;`);
  }
  lines.push('return {');
  for (const { field, offset } of head) lines.push(`  ${field.name}: ${read(field, offset, optional)},`);
  if (sized) lines.push(`  ${sized.name}: payload.subarray(${headBytes}, end),`);
  if (rest) lines.push(`  ${rest.name}: ${end === '0' ? 'payload' : `payload.subarray(${end})`},`);
  lines.push('};');
  return lines.map((line) => `  ${line}\n`).join('');
}

function read(field: Field, offset: number, optional: Cut['optional']): string {
  switch (field.type) {
    case 'u8':
      return `(payload[${offset}] ?? 0)${offset === 0 && optional ? ` & ~${optional.when}` : ''}`;
    case 'u32':
      return `payload.readUInt32LE(${offset})`;
    case 'i32':
      return `payload.readInt32LE(${offset})`;
    case 'u64':
      return `payload.readBigUInt64LE(${offset})`;
    case 'u32s':
      return `Array.from({ length: ${field.count} }, (_, at) => payload.readUInt32LE(${offset} + 4 * at))`;
    case 'text':
      return `payload.toString('utf8', ${offset}, ${field.name}End)`;
    case 'id': {
      const hex = `payload.toString('hex', ${offset}, ${offset + 8})`;
      return field.when === undefined ? hex : `has ? ${hex} : undefined`;
    }
    case 'sized':
    case 'rest':
      break;
  }
  return 'payload';
}
