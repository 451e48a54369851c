/**
 * Writes the C header of the numbers that worker and zygote share, from the contract, so that the numbers are defined only once.
 *
 * Usage: node generate-protocol.ts > build/protocol.gen.h
 */
import * as channel from '#contract/wire/channel.ts';
import * as control from '#contract/wire/control.ts';
import { RESOLVER_ADDRESS } from '#contract/functions/network.ts';

function enumeration(prefix: string, members: Readonly<Record<string, number>>): string {
  const lines = Object.entries(members).map(([name, value]) => `  ${prefix}_${name} = ${value},`);
  return `enum {\n${lines.join('\n')}\n};\n`;
}

function constants(module: Readonly<Record<string, unknown>>): string {
  return Object.entries(module)
    .filter((entry): entry is [string, number] => typeof entry[1] === 'number')
    .map(([name, value]) => `#define ${name} ${value}\n`)
    .join('');
}

process.stdout.write(
  [
    '// Generated from contract/wire/channel.ts, control.ts and network.ts; do not edit.\n#pragma once\n',
    constants(channel),
    enumeration('CHANNEL', channel.ChannelKind),
    constants(control),
    enumeration('CONTROL', control.ControlKind),
    `#define RESOLVER_ADDRESS "${RESOLVER_ADDRESS}"\n`,
  ].join('\n'),
);
