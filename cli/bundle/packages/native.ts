/** Native code on disk: for which system, and for which version of Node, a library was built. */
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import path from 'node:path';

/** Endings of libraries and programs of all systems. */
const NATIVE_FILE = /\.(?:node|dll|dylib|exe|pdb|so(?:\.\d+)*)$/;
const ELF = 0x7f_45_4c_46;
/** `e_machine` of an ELF header, elf(5), for each value of `process.arch` that functions run on. */
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };
/** Symbol of an addon that is tied to one version of Node's binary interface, as node_module_register and NODE_MODULE_INIT make it. */
const VERSIONED = /node_register_module_v(\d+)/;
const STABLE = 'napi_register_module_v1';

/** Is it a library or program that cannot run where functions run: Linux, this processor, glibc? */
export function isForeign(file: string): boolean {
  if (!NATIVE_FILE.test(file)) return false;
  const head = headOf(file);
  if (head.length < 20) return false;
  if (head.readUInt32BE(0) !== ELF) return isOfOtherSystem(head);
  const machine = head[5] === 2 ? head.readUInt16BE(18) : head.readUInt16LE(18);
  return (
    machine !== MACHINES[process.arch] ||
    /musl/.test(path.basename(file)) ||
    /[\\/][^\\/]*musl[^\\/]*[\\/][^\\/]+$/.test(file)
  );
}

/** Windows (MZ), or macOS (Mach-O in its four forms). */
function isOfOtherSystem(head: Buffer): boolean {
  const magic = head.readUInt32BE(0);
  return (
    head.readUInt16BE(0) === 0x4d_5a ||
    [0xfe_ed_fa_ce, 0xfe_ed_fa_cf, 0xce_fa_ed_fe, 0xcf_fa_ed_fe, 0xca_fe_ba_be].includes(magic)
  );
}

/** Version of Node's binary interface that an addon is tied to; undefined where it is tied to none, or does not say. */
export function abiOf(file: string): number | undefined {
  const bytes = readFileSync(file);
  const text = bytes.toString('latin1');
  const version = VERSIONED.exec(text)?.[1];
  if (version !== undefined) return Number(version);
  if (text.includes(STABLE) || text.includes('napi_module_register')) return undefined;
  return builtFor(file);
}

/** node-gyp notes beside a build for which interface it was made. */
function builtFor(file: string): number | undefined {
  const config = path.join(path.dirname(file), '..', 'config.gypi');
  if (!existsSync(config)) return undefined;
  const version = /"node_module_version":\s*"?(\d+)/.exec(readFileSync(config, 'utf8'))?.[1];
  return version === undefined ? undefined : Number(version);
}

function headOf(file: string): Buffer {
  const descriptor = openSync(file, 'r');
  try {
    const head = Buffer.alloc(64);
    return head.subarray(0, readSync(descriptor, head, 0, head.length, 0));
  } finally {
    closeSync(descriptor);
  }
}
