/** Implements `tracestate` with the interface that `@opentelemetry/api` expects. */
import { parseTracestate } from '#contract/wire/trace-context.ts';

/** The members of a `tracestate`, immutable as in the API; the one set last comes first. */
export class TraceState {
  readonly #members: readonly (readonly [string, string])[];

  constructor(members: readonly (readonly [string, string])[]) {
    this.#members = members;
  }

  static parse(header: string | undefined): TraceState | undefined {
    const known = parseTracestate(header);
    return known === undefined
      ? undefined
      : new TraceState(
          known.split(',').map((member) => {
            const at = member.indexOf('=');
            return [member.slice(0, at), member.slice(at + 1)];
          }),
        );
  }

  get(key: string): string | undefined {
    return this.#members.find(([known]) => known === key)?.[1];
  }

  set(key: string, value: string): TraceState {
    return new TraceState([[key, value], ...this.#without(key)]);
  }

  unset(key: string): TraceState {
    return new TraceState(this.#without(key));
  }

  serialize(): string {
    return this.#members.map(([key, value]) => `${key}=${value}`).join(',');
  }

  #without(key: string): (readonly [string, string])[] {
    return this.#members.filter(([known]) => known !== key);
  }
}
