/** The clock of a host, finer than Date.now(). No schema library here: this file is part of every sandbox. */

/** Upper bound on the difference that rounding and the slewing of a clock make. */
const SAME_MS = 5;

/**
 * Unix time in milliseconds at which performance.now() was 0. `performance.timeOrigin` is the host's time when this process
 * began. If the clock is set later, processes that began before and after that would disagree for ever.
 */
export function clockOrigin(): number {
  const origin = Date.now() - performance.now();
  return Math.abs(origin - performance.timeOrigin) < SAME_MS ? performance.timeOrigin : origin;
}
