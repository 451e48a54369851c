// Loaded into a process before its program (--import): shifts its wall clock by the milliseconds in the file that
// OFFSHOOT_TEST_CLOCK names, as soon as they are written. Its monotonic clock goes on, as the kernel's does.
import { readFileSync } from 'node:fs';

const file = process.env.OFFSHOOT_TEST_CLOCK;
const Real = Date;
let shift = 0;
const look = () => {
  try {
    shift = Number(readFileSync(file, 'utf8')) || 0;
  } catch {
    shift = 0;
  }
};
look();
setInterval(look, 20).unref();
globalThis.Date = class extends Real {
  constructor(...parts) {
    if (parts.length === 0) super(Real.now() + shift);
    else super(...parts);
  }
  static now() {
    return Real.now() + shift;
  }
};
