/**
 * Lets the clocks of the process begin with the life of its function. A fork goes on with those of the zygote, which may be hours
 * old. Node's clocks of worker threads begin with their threads anyway.
 */
import { Performance, performance } from 'node:perf_hooks';

type MarkOptions = NonNullable<Parameters<typeof performance.mark>[1]>;
type MeasureOptions = Exclude<Parameters<typeof performance.measure>[1], string | undefined>;

/** The clock as the zygote has it, kept before it is replaced. */
const zygoteNow = performance.now.bind(performance);
const zygoteOrigin = performance.timeOrigin;

/** Time of the zygote's clock at which the function of this sandbox was known. */
let born = 0;

/** To be called when the function of the sandbox is known and before its code runs. */
export function beginLife(): void {
  born = zygoteNow();
}

const now = (): number => zygoteNow() - born;

/** To be called once, in the zygote, so that no start pays for it. */
export function installClocks(): void {
  process.uptime = () => now() / 1000;
  // On the prototype, where code looks that wraps or copies them.
  const mark = performance.mark.bind(performance);
  const measure = performance.measure.bind(performance);
  const clock = {
    now,
    // A mark without a time of its own would have the zygote's.
    mark: (name: string, options?: MarkOptions) =>
      mark(name, { ...options, startTime: options?.startTime ?? now() }),
    measure: (name: string, start?: string | MeasureOptions, end?: string) =>
      measure(name, withEnd(start, end)),
  };
  for (const [name, value] of Object.entries(clock)) {
    Object.defineProperty(value, 'name', { value: name });
    Object.defineProperty(Performance.prototype, name, {
      value,
      configurable: true,
      writable: true,
      enumerable: true,
    });
  }
  Object.defineProperty(Performance.prototype, 'timeOrigin', {
    get: () => zygoteOrigin + born,
    configurable: true,
    enumerable: true,
  });
  Object.defineProperty(performance.nodeTiming, 'duration', {
    get: now,
    configurable: true,
    enumerable: true,
  });
}

/** Options of a measurement that ends now, unless it names an end of its own or a duration. */
function withEnd(start: string | MeasureOptions | undefined, end: string | undefined): MeasureOptions {
  const given = typeof start === 'object' ? start : { start: start ?? 0 };
  if (end !== undefined) return { ...given, end };
  const isComplete = given.end !== undefined || given.duration !== undefined;
  return isComplete ? given : { ...given, end: now() };
}
