/**
 * The control socket between a worker and a zygote: a stream socket that carries messages of one fixed layout, so that
 * neither side needs a parser. Descriptors for a FORK come with its first byte (SCM_RIGHTS, unix(7)).
 *
 * The layout and the kinds are in contract/wire/layouts.ts. A slot names a live sandbox of a worker, in all of its zygotes together;
 * a sandbox's uid follows from it, so no two live sandboxes have the same one.
 */
export { CONTROL_BYTES, ControlKind, putControl, readControl, type Control } from './wire.gen.ts';
export {
  CONTROL_VERSION,
  EXHAUSTED_STATUS,
  FIRST_SANDBOX_UID,
  FORK_FIXED_FDS,
  FORK_MAX_FDS,
  MAX_SLOTS,
} from './numbers.ts';
