/** The clock of a host, finer than Date.now(). No schema library here: this file is part of every sandbox. */

/** What rounding and the slewing of a clock amount to. */
const SAME_MS = 5;

/**
 * Unix time in milliseconds at which performance.now() was 0. `performance.timeOrigin` is what the host's clock said when this
 * process began: after it was set, processes of one host that began before and after that would disagree for ever.
 */
export function clockOrigin(): number {
  const origin = Date.now() - performance.now();
  return Math.abs(origin - performance.timeOrigin) < SAME_MS ? performance.timeOrigin : origin;
}
