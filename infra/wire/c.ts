/** The C header of the layouts, numbers and limits: for runtime_core.c, and for every runtime that links it. */
import { CONTROLS, FRAMES, type Field } from '#contract/wire/layouts.ts';
import * as numbers from '#contract/wire/numbers.ts';
import { RESOLVER_ADDRESS } from '#contract/functions/network.ts';
import { ALL, cut, EDIT_THAT, sizeOf, sizes, snake, type Cut } from './table.ts';

export function cHeader(): string {
  const layouts = ALL.map(([name, layout]) => cut(name, layout));
  const longest = Math.max(
    ...layouts.map(({ headBytes, optional }) => headBytes + (optional ? sizeOf(optional) : 0)),
  );
  const defined = [
    // A module's names come in no fixed order.
    ...Object.entries(numbers).toSorted(([one], [other]) => (one < other ? -1 : 1)),
    ...layouts.flatMap(sizes),
    ['WIRE_HEAD_BYTES', longest] as const,
  ];
  return [
    `// ${EDIT_THAT}\n// clang-format off\n#pragma once\n`,
    '#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n#include <sys/uio.h>\n',
    '_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the layouts are little endian");\n',
    `${defined.map(([name, value]) => `#define ${name} ${value}\n`).join('')}#define RESOLVER_ADDRESS "${RESOLVER_ADDRESS}"\n`,
    enumeration('CHANNEL', FRAMES),
    enumeration('CONTROL', CONTROLS),
    '// Bytes of another owner.\nstruct wire_bytes {\n  const void *at;\n  size_t length;\n};\n',
    '// A payload in parts, none of them copied but the head. The parts point into this value, so it stays where it is.\n' +
      'struct wire_parts {\n  struct iovec parts[3];\n  int count;\n  unsigned char head[WIRE_HEAD_BYTES];\n};\n',
    'static inline void wire_add(struct wire_parts *to, const void *at, size_t length) {\n' +
      '  to->parts[to->count++] = (struct iovec){(void *)at, length};\n}\n',
    ...layouts.map(codec),
    `// All frames by their kind.\n#define WIRE_FRAMES(FRAME)${Object.keys(FRAMES)
      .map((name) => ` \\\n  FRAME(${name})`)
      .join('')}\n`,
    '// All layouts, and the fields of each, for code that treats all of them alike.\n' +
      `#define WIRE_LAYOUTS(LAYOUT)${layouts.map(({ name }) => ` \\\n  LAYOUT(${name}, ${name.toLowerCase()})`).join('')}\n` +
      layouts.map(fieldList).join(''),
  ].join('\n');
}

function enumeration(prefix: string, table: Readonly<Record<string, { number: number }>>): string {
  const rows = Object.entries(table).map(([name, { number }]) => `  ${prefix}_${name} = ${number},\n`);
  return `enum {\n${rows.join('')}};\n`;
}

function codec(layout: Cut): string {
  const { name, about, head, sized, rest } = layout;
  const type = `wire_${name.toLowerCase()}`;
  const put = `static inline void wire_put_${name.toLowerCase()}(struct wire_parts *to, const struct ${type} *from)`;
  const read = `static inline bool wire_read_${name.toLowerCase()}(const void *payload, size_t length, struct ${type} *to)`;
  const members = [
    ...head.map(({ field }) => member(field)),
    ...[sized, rest].flatMap((field) => (field ? [`  struct wire_bytes ${snake(field.name)};\n`] : [])),
  ];
  // C has no empty structs.
  const body = members.length > 0 ? members.join('') : '  char nothing;\n';
  return `// ${about}\nstruct ${type} {\n${body}};\n${put} {\n${writer(layout)}}\n${read} {\n${reader(layout)}}\n`;
}

function member(field: Field): string {
  const name = snake(field.name);
  switch (field.type) {
    case 'u8':
      return `  uint8_t ${name};\n`;
    case 'u32':
      return `  uint32_t ${name};\n`;
    case 'i32':
      return `  int32_t ${name};\n`;
    case 'u64':
      return `  uint64_t ${name};\n`;
    case 'u32s':
      return `  uint32_t ${name}[${field.count}];\n`;
    case 'text':
      return `  char ${name}[${field.bytes}];\n`;
    case 'id':
      return `${field.when === undefined ? '' : `  bool has_${name};\n`}  unsigned char ${name}[8];\n`;
    case 'sized':
    case 'rest':
      break;
  }
  return '';
}

function writer({ head, headBytes, optional, sized, rest }: Cut): string {
  const lines = ['to->count = 0;'];
  const parts = [sized, rest].filter((field) => field !== undefined);
  if (head.length === 0 && parts.length === 0) return '  (void)from;\n  to->count = 0;\n';
  for (const { field, offset } of head) {
    const name = snake(field.name);
    if (field === optional) {
      lines.push(`if (from->has_${name}) {`, `  to->head[0] |= ${optional.when};`);
      lines.push(`  memcpy(to->head + ${offset}, from->${name}, 8);`, '}');
    } else if (field.type === 'u8') lines.push(`to->head[${offset}] = from->${name};`);
    else if (field.type === 'text') {
      lines.push(`memset(to->head + ${offset}, 0, ${field.bytes});`);
      lines.push(`memcpy(to->head + ${offset}, from->${name}, strnlen(from->${name}, ${field.bytes - 1}));`);
    } else lines.push(`memcpy(to->head + ${offset}, ${reference(field)}from->${name}, ${sizeOf(field)});`);
  }
  if (sized) {
    lines.push(`const uint32_t size = (uint32_t)from->${snake(sized.name)}.length;`);
    lines.push(`memcpy(to->head + ${headBytes - 4}, &size, sizeof size);`);
  }
  const size = optional
    ? `from->has_${snake(optional.name)} ? ${headBytes + sizeOf(optional)} : ${headBytes}`
    : `${headBytes}`;
  if (headBytes > 0) lines.push(`wire_add(to, to->head, ${size});`);
  for (const { name } of parts)
    lines.push(`wire_add(to, from->${snake(name)}.at, from->${snake(name)}.length);`);
  return lines.map((line) => `  ${line}\n`).join('');
}

function reader({ head, headBytes, optional, sized, rest }: Cut): string {
  if (head.length === 0 && !sized && !rest) return '  (void)payload;\n  (void)to;\n  return length == 0;\n';
  const lines = ['const unsigned char *at = payload;'];
  if (!optional && !sized && !rest) lines.push(`if (length != ${headBytes}) return false;`);
  else if (headBytes > 0) lines.push(`if (length < ${headBytes}) return false;`);
  for (const { field, offset } of head) {
    const name = snake(field.name);
    // A first byte with a bit for the optional field is read below.
    if (field === optional || (optional && offset === 0)) continue;
    if (field.type === 'text') lines.push(`if (!memchr(at + ${offset}, 0, ${field.bytes})) return false;`);
    if (field.type === 'u8') lines.push(`to->${name} = at[${offset}];`);
    else lines.push(`memcpy(${reference(field)}to->${name}, at + ${offset}, ${sizeOf(field)});`);
  }
  let start = `${headBytes}`;
  if (optional) {
    const name = snake(optional.name);
    const [first] = head;
    lines.push(`to->has_${name} = (at[0] & ${optional.when}) != 0;`);
    lines.push(`to->${snake(first?.field.name ?? '')} = (uint8_t)(at[0] & ~${optional.when});`);
    lines.push(`const size_t start = to->has_${name} ? ${headBytes + sizeOf(optional)} : ${headBytes};`);
    lines.push('if (length < start) return false;');
    lines.push(`if (to->has_${name}) memcpy(to->${name}, at + ${headBytes}, 8);`);
    start = 'start';
  }
  if (sized) {
    lines.push('uint32_t size;', `memcpy(&size, at + ${headBytes - 4}, sizeof size);`);
    lines.push(`if (length - ${headBytes} ${rest ? '<' : '!='} size) return false;`);
    lines.push(`to->${snake(sized.name)} = (struct wire_bytes){at + ${headBytes}, size};`);
    start = `${headBytes} + (size_t)size`;
  }
  if (rest)
    lines.push(
      `to->${snake(rest.name)} = (struct wire_bytes){at + ${start}, length - ${start.includes(' ') ? `(${start})` : start}};`,
    );
  lines.push('return true;');
  return lines.map((line) => `  ${line}\n`).join('');
}

/** Numbers are copied from their address; arrays are their own. */
function reference(field: Field): string {
  return field.type === 'text' || field.type === 'u32s' || field.type === 'id' ? '' : '&';
}

function fieldList({ name, head, sized, rest }: Cut): string {
  const fields = [...head.map(({ field }) => field), ...[sized, rest].filter((field) => field !== undefined)];
  const rows = fields.map((field) => {
    const type = field.type === 'id' && field.when !== undefined ? 'optional_id' : field.type;
    return ` FIELD(${type}, ${snake(field.name)}, ${field.name})`;
  });
  return `#define WIRE_FIELDS_${name}(FIELD)${rows.join('')}\n`;
}
