/** Gives each method of `console` its level. Those that Node builds upon `console.log` and `console.warn` follow by themselves. */
import { formatWithOptions, inspect, type InspectOptions } from 'node:util';

/** Levels in the order of the contract's LogLevel. */
export const LEVELS = ['debug', 'info', 'log', 'warn', 'error', 'stdout', 'stderr'] as const;
export type Level = (typeof LEVELS)[number];

/** Number of blanks by which `console.group()` indents, as in Node. */
const GROUP_INDENTATION = 2;

/** Replaces the methods. To be called once. */
export function captureConsole(emit: (level: Level, text: string) => void): void {
  let indentation = '';
  const print = (level: Level, text: string): void =>
    emit(level, indentation === '' ? text : indentation + text.replaceAll('\n', `\n${indentation}`));
  for (const level of ['debug', 'info', 'log', 'warn', 'error'] as const) {
    console[level] = (...values: unknown[]) => print(level, formatWithOptions({}, ...values));
  }
  console.dirxml = (...values: unknown[]) => print('log', formatWithOptions({}, ...values));
  console.dir = (value: unknown, options?: InspectOptions) =>
    print('log', inspect(value, { customInspect: false, ...options }));
  console.group = (...values: unknown[]) => {
    if (values.length > 0) console.log(...values);
    indentation += ' '.repeat(GROUP_INDENTATION);
  };
  console.groupCollapsed = console.group;
  console.groupEnd = () => {
    indentation = indentation.slice(GROUP_INDENTATION);
  };
  console.trace = (...values: unknown[]) => {
    const trace = { name: 'Trace', message: formatWithOptions({}, ...values), stack: '' };
    Error.captureStackTrace(trace, console.trace);
    print('error', trace.stack);
  };
}
